//! Augmentation of training images: a random crop and a random horizontal flip, the standard for
//! CIFAR-10, as torchvision does them (`RandomCrop(32, padding=4)`, `RandomHorizontalFlip()`,
//! then normalisation): the border is black, so after normalisation it is `-mean / deviation`.

use ghnas_core::Shape;
use rand::{Rng, RngExt};

/// Black pixels added on every side before a crop of the image's own size.
pub(super) const PADDING: usize = 4;

/// How one image is cut from its padded self.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Augmentation {
    /// First row of the crop, in the padded image: 0 to `2 * PADDING`.
    pub(super) top: usize,
    /// First column of the crop, in the padded image: 0 to `2 * PADDING`.
    pub(super) left: usize,
    /// Whether rows are then reversed.
    pub(super) flip: bool,
}

impl Augmentation {
    /// Leaves an image as it is.
    pub(super) const NONE: Self = Self { top: PADDING, left: PADDING, flip: false };

    /// One of all, each as likely.
    pub(super) fn draw(rng: &mut impl Rng) -> Self {
        let top = rng.random_range(0..=2 * PADDING);
        let left = rng.random_range(0..=2 * PADDING);
        Self { top, left, flip: rng.random() }
    }

    /// Writes the augmented, normalised image to `output`.
    ///
    /// `image` and `output` are row-major [channels, height, width]; `values` holds what each
    /// pixel value of each channel becomes.
    pub(super) fn apply(
        self,
        image: &[u8],
        shape: Shape,
        values: &[[f32; 256]],
        output: &mut [f32],
    ) {
        let (height, width) = (shape.height, shape.width);
        // The columns of a row of the crop that lie inside the image, and where they come from.
        let first = PADDING.saturating_sub(self.left).min(width);
        let last = (width + PADDING).saturating_sub(self.left).clamp(first, width);
        let source = self.left.saturating_sub(PADDING).min(width);
        let images = image.chunks_exact(shape.pixels());
        let outputs = output.chunks_exact_mut(shape.pixels());
        for ((image, output), values) in images.zip(outputs).zip(values) {
            for (y, output) in output.chunks_exact_mut(width).enumerate() {
                let inside = (y + self.top).checked_sub(PADDING).filter(|&row| row < height);
                let Some(row) = inside else {
                    output.fill(values[0]);
                    continue;
                };
                let input = &image[row * width + source..][..last - first];
                output[..first].fill(values[0]);
                output[last..].fill(values[0]);
                for (output, &pixel) in output[first..last].iter_mut().zip(input) {
                    *output = values[usize::from(pixel)];
                }
                if self.flip {
                    output.reverse();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One value a channel and pixel value, so that none can be confused with another.
    fn distinct_values(channels: usize) -> Vec<[f32; 256]> {
        (0..channels).map(|c| std::array::from_fn(|v| (c * 1000 + v) as f32 - 7.0)).collect()
    }

    proptest! {
        /// Checked against the definition: pad, then read each pixel of the window.
        #[test]
        fn augmenting_is_a_window_of_the_padded_image(
            (height, width, channels) in (1_usize..12, 1_usize..12, 1_usize..4),
            top in 0..=2 * PADDING,
            left in 0..=2 * PADDING,
            flip: bool,
            seed: u64,
        ) {
            let shape = Shape::new(channels, height, width);
            let mut image = vec![0_u8; shape.elements()];
            ghnas_core::rng::stream(seed, "test image", 0).fill_bytes(&mut image);
            let values = distinct_values(channels);
            let mut output = vec![f32::NAN; shape.elements()];
            Augmentation { top, left, flip }.apply(&image, shape, &values, &mut output);

            let (padded_height, padded_width) = (height + 2 * PADDING, width + 2 * PADDING);
            let mut padded = vec![0_u8; channels * padded_height * padded_width];
            for c in 0..channels {
                for y in 0..height {
                    for x in 0..width {
                        let at = (c * padded_height + y + PADDING) * padded_width + x + PADDING;
                        padded[at] = image[(c * height + y) * width + x];
                    }
                }
            }
            for c in 0..channels {
                for y in 0..height {
                    for x in 0..width {
                        let column = if flip { width - 1 - x } else { x };
                        let at = (c * padded_height + y + top) * padded_width + column + left;
                        let expected = values[c][usize::from(padded[at])];
                        prop_assert_eq!(output[(c * height + y) * width + x], expected);
                    }
                }
            }
        }
    }

    #[test]
    fn no_augmentation_only_normalises() {
        let shape = Shape::new(2, 2, 2);
        let values = distinct_values(2);
        let mut output = [0.0; 8];
        Augmentation::NONE.apply(&[0, 1, 2, 3, 4, 5, 6, 7], shape, &values, &mut output);
        assert_eq!(output, [-7.0, -6.0, -5.0, -4.0, 997.0, 998.0, 999.0, 1000.0]);
    }

    #[test]
    fn every_crop_and_flip_is_drawn() {
        let mut rng = ghnas_core::rng::stream(0, "test", 0);
        let drawn: std::collections::BTreeSet<_> = (0..4000)
            .map(|_| Augmentation::draw(&mut rng))
            .map(|drawn| (drawn.top, drawn.left, drawn.flip))
            .collect();
        assert_eq!(drawn.len(), 9 * 9 * 2);
        assert_eq!(drawn.last(), Some(&(8, 8, true)));
    }
}
