//! The QR code of a share, as a drawing within a page.
//!
//! Must never need a script, a font or a picture from elsewhere.
//! Called by `kit_page`.

use qrcodegen::{QrCode, QrCodeEcc};
use std::fmt::Write as _;
use zeroize::Zeroizing;

/// Empty modules around the code, without which some scanners do not find it.
/// Source: ISO/IEC 18004, section 5.3.8.
const QUIET: i32 = 4;

/// The drawing of a code that says `text`; `None` if that is too long for one.
pub(super) fn svg(text: &str, label: &str) -> Option<Zeroizing<String>> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let size = code.size();
    let whole = size + 2 * QUIET;
    let room = usize::try_from(size).unwrap_or_default().pow(2) * 12;
    let mut svg = Zeroizing::new(String::with_capacity(room));
    let _ = write!(svg, r#"<svg class="code" role="img" aria-label="{label}" viewBox="0 0 {whole} {whole}"><path d=""#);
    for y in 0..size {
        let mut x = 0;
        while x < size {
            let length = (x..size).take_while(|x| code.get_module(*x, y)).count();
            let length = i32::try_from(length).unwrap_or(size);
            if length > 0 {
                let _ = write!(svg, "M{} {}h{length}v1h-{length}z", x + QUIET, y + QUIET);
            }
            x += length.max(1);
        }
    }
    svg.push_str(r#""/></svg>"#);
    Some(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_share_fits_into_a_code_and_what_does_not_is_none() {
        let longest = "abcdefgh ".repeat(33);
        let svg = svg(longest.trim_end(), "x").unwrap();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>") && !svg.contains("acad"));
        assert!(super::svg(&"a".repeat(5_000), "x").is_none());
    }
}
