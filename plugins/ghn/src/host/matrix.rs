//! Products of small row-major matrices on slices. A sum is made in one order, whatever the tile
//! that it falls into: a row has the same result alone and among others.

use crate::simd::Real;

/// Columns of a tile whose sums fill the registers beside those of four rows.
const COLUMNS: usize = 16;

/// Adds x [n, inner] times `matrix` [inner, columns] to y [n, columns].
#[inline(always)]
pub(super) fn add_product<E: Real, const FMA: bool>(
    x: &[E],
    inner: usize,
    matrix: &[E],
    y: &mut [E],
) {
    let columns = matrix.len() / inner;
    let (mut x, mut y) = (x, y);
    while !y.is_empty() {
        let rows = (y.len() / columns).min(4);
        let (own_x, other_x) = x.split_at(rows * inner);
        let (own_y, other_y) = y.split_at_mut(rows * columns);
        match rows {
            1 => add_band::<E, FMA, 1>(own_x, inner, matrix, own_y),
            2 => add_band::<E, FMA, 2>(own_x, inner, matrix, own_y),
            3 => add_band::<E, FMA, 3>(own_x, inner, matrix, own_y),
            _ => add_band::<E, FMA, 4>(own_x, inner, matrix, own_y),
        }
        (x, y) = (other_x, other_y);
    }
}

/// [`add_product`] for `N` rows.
#[inline(always)]
fn add_band<E: Real, const FMA: bool, const N: usize>(
    x: &[E],
    inner: usize,
    matrix: &[E],
    y: &mut [E],
) {
    let columns = matrix.len() / inner;
    let mut column = 0;
    // The fewer rows, the more columns are wanted for as many independent sums.
    while N == 1 && columns - column >= 4 * COLUMNS {
        add_tile::<E, FMA, N, { 4 * COLUMNS }>(x, inner, matrix, y, column);
        column += 4 * COLUMNS;
    }
    while N <= 2 && columns - column >= 2 * COLUMNS {
        add_tile::<E, FMA, N, { 2 * COLUMNS }>(x, inner, matrix, y, column);
        column += 2 * COLUMNS;
    }
    while columns - column >= COLUMNS {
        add_tile::<E, FMA, N, COLUMNS>(x, inner, matrix, y, column);
        column += COLUMNS;
    }
    while column < columns {
        add_tile::<E, FMA, N, 1>(x, inner, matrix, y, column);
        column += 1;
    }
}

/// [`add_product`] for `N` rows and `C` columns from `column` on.
#[inline(always)]
fn add_tile<E: Real, const FMA: bool, const N: usize, const C: usize>(
    x: &[E],
    inner: usize,
    matrix: &[E],
    y: &mut [E],
    column: usize,
) {
    let columns = matrix.len() / inner;
    let x: [&[E]; N] = std::array::from_fn(|row| &x[row * inner..][..inner]);
    let mut sums = [[E::default(); C]; N];
    for (row, sums) in sums.iter_mut().enumerate() {
        sums.copy_from_slice(&y[row * columns + column..][..C]);
    }
    for at in 0..inner {
        let line: &[E; C] = matrix[at * columns + column..].first_chunk().expect("a full tile");
        for (sums, x) in sums.iter_mut().zip(x) {
            for (sum, &entry) in sums.iter_mut().zip(line) {
                *sum = x[at].multiply_add::<FMA>(entry, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        y[row * columns + column..][..C].copy_from_slice(sums);
    }
}

/// Rows of both factors that stay in the first-level cache while all tiles go over them.
const BLOCK: usize = 32;

/// Adds to `sum` [m, columns] rows `first..first + m` of the product of a [n, width] transposed and
/// b [n, columns].
#[inline(always)]
pub(super) fn add_transposed_product<E: Real, const FMA: bool>(
    a: &[E],
    width: usize,
    first: usize,
    b: &[E],
    columns: usize,
    sum: &mut [E],
) {
    let rows = sum.len() / columns;
    for (a, b) in a.chunks(BLOCK * width).zip(b.chunks(BLOCK * columns)) {
        let mut row = 0;
        while row < rows {
            let own = &mut sum[row * columns..];
            let from = first + row;
            match rows - row {
                1 => add_outer_band::<E, FMA, 1>(a, width, from, b, columns, own),
                2 => add_outer_band::<E, FMA, 2>(a, width, from, b, columns, own),
                3 => add_outer_band::<E, FMA, 3>(a, width, from, b, columns, own),
                _ => add_outer_band::<E, FMA, 4>(a, width, from, b, columns, own),
            }
            row += (rows - row).min(4);
        }
    }
}

/// [`add_transposed_product`] for `N` rows.
#[inline(always)]
fn add_outer_band<E: Real, const FMA: bool, const N: usize>(
    a: &[E],
    width: usize,
    first: usize,
    b: &[E],
    columns: usize,
    sum: &mut [E],
) {
    let mut column = 0;
    while N == 1 && columns - column >= 4 * COLUMNS {
        add_outer_tile::<E, FMA, N, { 4 * COLUMNS }>(a, width, first, b, columns, sum, column);
        column += 4 * COLUMNS;
    }
    while N <= 2 && columns - column >= 2 * COLUMNS {
        add_outer_tile::<E, FMA, N, { 2 * COLUMNS }>(a, width, first, b, columns, sum, column);
        column += 2 * COLUMNS;
    }
    while columns - column >= COLUMNS {
        add_outer_tile::<E, FMA, N, COLUMNS>(a, width, first, b, columns, sum, column);
        column += COLUMNS;
    }
    while column < columns {
        add_outer_tile::<E, FMA, N, 1>(a, width, first, b, columns, sum, column);
        column += 1;
    }
}

/// [`add_transposed_product`] for `N` rows and `C` columns from `column` on.
#[inline(always)]
fn add_outer_tile<E: Real, const FMA: bool, const N: usize, const C: usize>(
    a: &[E],
    width: usize,
    first: usize,
    b: &[E],
    columns: usize,
    sum: &mut [E],
    column: usize,
) {
    let mut sums = [[E::default(); C]; N];
    for (row, sums) in sums.iter_mut().enumerate() {
        sums.copy_from_slice(&sum[row * columns + column..][..C]);
    }
    for (a, b) in a.chunks_exact(width).zip(b.chunks_exact(columns)) {
        let factors: &[E; N] = a[first..].first_chunk().expect("a full tile");
        let line: &[E; C] = b[column..].first_chunk().expect("a full tile");
        for (sums, &factor) in sums.iter_mut().zip(factors) {
            for (sum, &entry) in sums.iter_mut().zip(line) {
                *sum = factor.multiply_add::<FMA>(entry, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        sum[row * columns + column..][..C].copy_from_slice(sums);
    }
}

/// Sums that a dot product keeps apart.
const LANES: usize = 16;

/// The dot product of vectors of one length.
#[inline(always)]
pub(super) fn dot<E: Real, const FMA: bool>(a: &[E], b: &[E]) -> E {
    finish::<E, FMA>(&begin::<E, FMA>(a, b), a, b)
}

/// Most of a dot product. Several of these, one after the other, keep the processor busier than
/// whole ones.
#[inline(always)]
pub(super) fn begin<E: Real, const FMA: bool>(a: &[E], b: &[E]) -> [E; LANES / 2] {
    let mut sums = [E::default(); LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            sums[lane] = a[lane].multiply_add::<FMA>(b[lane], sums[lane]);
        }
    }
    let mut halves = [E::default(); LANES / 2];
    for (lane, half) in halves.iter_mut().enumerate() {
        *half = sums[lane] + sums[lane + LANES / 2];
    }
    halves
}

/// The dot product that was [begun](begin).
#[inline(always)]
pub(super) fn finish<E: Real, const FMA: bool>(begun: &[E; LANES / 2], a: &[E], b: &[E]) -> E {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = *begun;
    let sum = ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7));
    let rest = a.as_chunks::<LANES>().1.iter().zip(b.as_chunks::<LANES>().1);
    rest.fold(sum, |sum, (&a, &b)| a.multiply_add::<FMA>(b, sum))
}

/// Adds x to `sum`, as far as the shorter of both goes.
#[inline(always)]
pub(super) fn add<E: Real>(x: &[E], sum: &mut [E]) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum += x;
    }
}

/// Writes the transpose of `matrix` [rows, columns] to `transposed`.
pub(super) fn transpose<E: Copy>(matrix: &[E], columns: usize, transposed: &mut [E]) {
    let rows = matrix.len() / columns;
    for (row, line) in matrix.chunks_exact(columns).enumerate() {
        for (column, &entry) in line.iter().enumerate() {
            transposed[column * rows + row] = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Kernel, dispatch};

    /// Some matrix, without symmetries.
    fn matrix(rows: usize, columns: usize, phase: f64) -> Vec<f64> {
        (0..rows * columns).map(|at| (at as f64 * 0.7 + phase).sin()).collect()
    }

    /// All shapes of tiles, and what is left beside them.
    const SHAPES: [[usize; 3]; 6] =
        [[1, 3, 200], [2, 7, 53], [3, 1, 17], [4, 32, 16], [9, 33, 1], [70, 5, 35]];

    struct Both<'a> {
        x: &'a [f64],
        inner: usize,
        other: &'a [f64],
        got: &'a mut [f64],
        transposed: Option<usize>,
    }

    impl Kernel for Both<'_> {
        type Output = ();

        #[inline(always)]
        fn run<const FMA: bool>(self) {
            let Self { x, inner, other, got, transposed } = self;
            match transposed {
                None => add_product::<f64, FMA>(x, inner, other, got),
                Some(first) => {
                    let columns = other.len() / (x.len() / inner);
                    add_transposed_product::<f64, FMA>(x, inner, first, other, columns, got);
                }
            }
        }
    }

    #[test]
    fn products_are_sums_of_products() {
        for [n, inner, columns] in SHAPES {
            let (x, m) = (matrix(n, inner, 0.1), matrix(inner, columns, 0.2));
            let start = matrix(n, columns, 0.3);
            let mut got = start.clone();
            dispatch(Both { x: &x, inner, other: &m, got: &mut got, transposed: None });
            for (at, got) in got.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let terms = (0..inner).map(|k| x[row * inner + k] * m[k * columns + column]);
                let expected = start[at] + terms.sum::<f64>();
                assert!((got - expected).abs() < 1e-12, "{n} {inner} {columns}: {at}");
            }
        }
    }

    #[test]
    fn transposed_products_are_sums_of_products() {
        for [width, n, columns] in SHAPES {
            for first in [0, width / 2] {
                let (a, b) = (matrix(n, width, 0.1), matrix(n, columns, 0.2));
                let start = matrix(width - first, columns, 0.3);
                let mut got = start.clone();
                let transposed = Some(first);
                dispatch(Both { x: &a, inner: width, other: &b, got: &mut got, transposed });
                for (at, got) in got.iter().enumerate() {
                    let (row, column) = (first + at / columns, at % columns);
                    let terms = (0..n).map(|k| a[k * width + row] * b[k * columns + column]);
                    let expected = start[at] + terms.sum::<f64>();
                    assert!((got - expected).abs() < 1e-12, "{n} {width} {columns}: {at}");
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bytes_alone_and_among_others() {
        let [n, inner, columns] = [7, 33, 117];
        let (x, m) = (matrix(n, inner, 0.1), matrix(inner, columns, 0.2));
        let mut together = vec![0.5; n * columns];
        dispatch(Both { x: &x, inner, other: &m, got: &mut together, transposed: None });
        for (x, together) in x.chunks(inner).zip(together.chunks(columns)) {
            let mut alone = vec![0.5; columns];
            dispatch(Both { x, inner, other: &m, got: &mut alone, transposed: None });
            assert_eq!(alone, together);
        }
    }
}
