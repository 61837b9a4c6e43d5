//! GF(256), and polynomials over it: a share is a point of one polynomial for each byte of the secret.
//!
//! Must never branch on, or index a table by, a byte of a share: multiplication is eight steps whatever the bytes are.
//! Called by `shares`.

/// a * b in GF(2^8) with x^8 + x^4 + x^3 + x + 1.
///
/// Source: SLIP-0039, section "Shamir's secret-sharing"; FIPS 197, section 4.2.
pub(super) fn multiplied(a: u8, b: u8) -> u8 {
    let (mut a, mut product) = (a, 0);
    for bit in 0..8 {
        product ^= a & 0u8.wrapping_sub((b >> bit) & 1);
        a = (a << 1) ^ (0x1b & 0u8.wrapping_sub(a >> 7));
    }
    product
}

/// 1 / a, as a^254; of 0 it is 0, and no caller asks for that.
fn inverted(a: u8) -> u8 {
    let (mut power, mut square) = (1, a);
    for _ in 1..8 {
        square = multiplied(square, square);
        power = multiplied(power, square);
    }
    power
}

/// f(x) = y for the polynomial f of least degree through `points`, byte by byte, into `y`.
///
/// The places of the points are public, and differ from each other.
pub(super) fn interpolate(points: &[(u8, &[u8])], x: u8, y: &mut [u8]) {
    y.fill(0);
    for (own, value) in points {
        let mut factor = 1;
        for (other, _) in points.iter().filter(|(other, _)| other != own) {
            factor = multiplied(factor, multiplied(x ^ other, inverted(own ^ other)));
        }
        for (sum, byte) in y.iter_mut().zip(*value) {
            *sum ^= multiplied(factor, *byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_fips_197() {
        assert_eq!(multiplied(0x57, 0x83), 0xc1);
        assert_eq!(multiplied(0x57, 0x13), 0xfe);
        assert_eq!((multiplied(0, 0xff), multiplied(1, 0xab)), (0, 0xab));
    }

    #[test]
    fn every_number_but_zero_has_an_inverse() {
        assert!((1..=255).all(|a| multiplied(a, inverted(a)) == 1));
        assert_eq!(inverted(0), 0);
    }

    #[test]
    fn multiplication_is_that_of_a_field() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(multiplied(a, b), multiplied(b, a));
                assert_eq!(multiplied(a, b ^ 0x35), multiplied(a, b) ^ multiplied(a, 0x35));
            }
        }
    }

    #[test]
    fn a_polynomial_goes_through_its_points_and_any_of_them_give_the_rest() {
        let points: [(u8, &[u8]); 3] = [(0, &[1, 2]), (7, &[0xff, 3]), (254, &[9, 0])];
        let at = |points: &[(u8, &[u8])], x| {
            let mut y = [0xee; 2];
            interpolate(points, x, &mut y);
            y
        };
        for (x, y) in points {
            assert_eq!(at(&points, x), y);
        }
        let (fourth, secret) = (at(&points, 3), at(&points, 255));
        for left_out in 0..3 {
            let mut others = points.to_vec();
            others[left_out] = (3, &fourth);
            assert_eq!(at(&others, 255), secret);
        }
    }
}
