//! Sums and products of short rows, which the compiler vectorises.

/// sum += values.
pub(crate) fn add(values: &[f32], sum: &mut [f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value;
    }
}

/// outputs += inputs * matrix, for a matrix [inputs, outputs].
pub(crate) fn add_product(inputs: &[f32], matrix: &[f32], outputs: &mut [f32]) {
    for (&input, row) in inputs.iter().zip(matrix.chunks_exact(outputs.len())) {
        for (output, value) in outputs.iter_mut().zip(row) {
            *output += input * value;
        }
    }
}

/// inputs += matrix * outputs, for a matrix [inputs, outputs].
pub(crate) fn add_product_transposed(outputs: &[f32], matrix: &[f32], inputs: &mut [f32]) {
    for (input, row) in inputs.iter_mut().zip(matrix.chunks_exact(outputs.len())) {
        *input += dot(row, outputs);
    }
}

/// matrix += inputs (as a column) * outputs (as a row).
pub(crate) fn add_outer(inputs: &[f32], outputs: &[f32], matrix: &mut [f32]) {
    for (&input, row) in inputs.iter().zip(matrix.chunks_exact_mut(outputs.len())) {
        for (value, output) in row.iter_mut().zip(outputs) {
            *value += input * output;
        }
    }
}

/// The sum of the products, in eight partial sums so that it vectorises.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
