//! Ids in names and lines: hex of exactly so many bytes.
//!
//! Must never take upper case, or another length: what is written in one way is read in that way alone.
//! Called by `record` for names and by `mark` for its lines.

/// The bytes of lower-case hex; `None` if they are not exactly `N`.
pub(super) fn fixed<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let length = base16ct::lower::decode(text, &mut bytes).ok()?.len();
    (length == N).then_some(bytes)
}
