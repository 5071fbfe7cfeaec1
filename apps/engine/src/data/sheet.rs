//! Pictures that hold many images: PNG sheets of tiles, and PNG sheets with one image a row.
//!
//! Images are planar, row-major [images, 3, height, width]; pictures are interleaved RGB.

use std::io::Cursor;

use png::{BitDepth, ColorType, Compression, Decoder, Encoder, Filter};

use super::DataError;

const CHANNELS: usize = 3;

/// How many images of which size a sheet holds, and how they are placed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Layout {
    /// Image `i` is row `i`; its pixels, in row-major order, are the columns.
    Rows { images: usize, pixels: usize },
    /// Square tiles, from left to right and then from top to bottom.
    Tiles { images: usize, side: usize, columns: usize },
}

impl Layout {
    fn images(self) -> usize {
        let (Self::Rows { images, .. } | Self::Tiles { images, .. }) = self;
        images
    }

    /// Pixels of one channel of one image.
    fn pixels(self) -> usize {
        match self {
            Self::Rows { pixels, .. } => pixels,
            Self::Tiles { side, .. } => side * side,
        }
    }

    /// Columns and rows of the picture.
    fn size(self) -> (usize, usize) {
        match self {
            Self::Rows { images, pixels } => (pixels, images),
            Self::Tiles { images, side, columns } => {
                (columns * side, images.div_ceil(columns) * side)
            }
        }
    }

    /// Where pixel `pixel` of image `image` is in the picture, counted in pixels.
    fn place(self, image: usize, pixel: usize) -> usize {
        match self {
            Self::Rows { pixels, .. } => image * pixels + pixel,
            Self::Tiles { side, columns, .. } => {
                let row = image / columns * side + pixel / side;
                row * columns * side + image % columns * side + pixel % side
            }
        }
    }
}

/// The images of a PNG sheet with 8 bits a channel, RGB or RGBA (alpha is dropped).
///
/// # Errors
/// [`DataError::Sheet`], under the name `file`, where it is no such picture, or of another size.
pub(super) fn decode(file: &str, png: &[u8], layout: Layout) -> Result<Vec<u8>, DataError> {
    let fail = |reason: String| DataError::Sheet { file: file.to_owned(), reason };
    let broken = |error: png::DecodingError| fail(format!("not a PNG picture: {error}"));
    let mut reader = Decoder::new(Cursor::new(png)).read_info().map_err(broken)?;
    let got = (reader.info().width as usize, reader.info().height as usize);
    let expected = layout.size();
    if got != expected {
        return Err(fail(format!(
            "a picture of {}x{} pixels, expected {}x{}",
            got.0, got.1, expected.0, expected.1
        )));
    }
    let stride = match reader.output_color_type() {
        (ColorType::Rgb, BitDepth::Eight) => 3,
        (ColorType::Rgba, BitDepth::Eight) => 4,
        (color, depth) => {
            return Err(fail(format!("{color:?} at {} bits, expected 8-bit RGB", depth as u8)));
        }
    };
    let mut picture = vec![0; expected.0 * expected.1 * stride];
    reader.next_frame(&mut picture).map_err(broken)?;

    let mut images = Vec::with_capacity(layout.images() * CHANNELS * layout.pixels());
    for image in 0..layout.images() {
        for channel in 0..CHANNELS {
            let value = |pixel| picture[layout.place(image, pixel) * stride + channel];
            images.extend((0..layout.pixels()).map(value));
        }
    }
    Ok(images)
}

/// A PNG sheet of `images`, as small as the encoder makes it; places without an image are black.
pub(super) fn encode(images: &[u8], layout: Layout) -> Result<Vec<u8>, png::EncodingError> {
    let (width, height) = layout.size();
    let mut picture = vec![0; width * height * CHANNELS];
    for (plane, values) in images.chunks_exact(layout.pixels()).enumerate() {
        for (pixel, &value) in values.iter().enumerate() {
            let place = layout.place(plane / CHANNELS, pixel);
            picture[place * CHANNELS + plane % CHANNELS] = value;
        }
    }
    let mut png = Vec::new();
    let mut encoder = Encoder::new(&mut png, width as u32, height as u32);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::High);
    encoder.set_filter(Filter::Adaptive);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&picture)?;
    writer.finish()?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TILES: Layout = Layout::Tiles { images: 3, side: 2, columns: 2 };
    const ROWS: Layout = Layout::Rows { images: 2, pixels: 3 };

    /// A PNG of these bytes.
    fn png(width: u32, height: u32, color: ColorType, depth: BitDepth, picture: &[u8]) -> Vec<u8> {
        let mut png = Vec::new();
        let mut encoder = Encoder::new(&mut png, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        encoder.write_header().unwrap().write_image_data(picture).unwrap();
        png
    }

    /// Pixel `i` of an RGB picture is (i, i + 100, i + 200).
    fn rgb(pixels: u8) -> Vec<u8> {
        (0..pixels).flat_map(|i| [i, i + 100, i + 200]).collect()
    }

    #[test]
    fn a_row_is_an_image() {
        let png = png(3, 2, ColorType::Rgb, BitDepth::Eight, &rgb(6));
        let expected = [
            [0, 1, 2],
            [100, 101, 102],
            [200, 201, 202],
            [3, 4, 5],
            [103, 104, 105],
            [203, 204, 205],
        ];
        assert_eq!(decode("x", &png, ROWS).unwrap(), expected.concat());
    }

    #[test]
    fn alpha_is_dropped() {
        let picture: Vec<u8> = (0..6).flat_map(|i| [i, i + 100, i + 200, 255]).collect();
        let rgba = png(3, 2, ColorType::Rgba, BitDepth::Eight, &picture);
        let rgb = png(3, 2, ColorType::Rgb, BitDepth::Eight, &rgb(6));
        assert_eq!(decode("x", &rgba, ROWS).unwrap(), decode("x", &rgb, ROWS).unwrap());
    }

    #[test]
    fn tiles_run_from_left_to_right_and_down() {
        // Pixels 0 to 15 in four rows; the second row of tiles holds one.
        let png = png(4, 4, ColorType::Rgb, BitDepth::Eight, &rgb(16));
        let images = decode("x", &png, TILES).unwrap();
        let red: Vec<&[u8]> = images.chunks(4).step_by(3).collect();
        assert_eq!(red, [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13]]);
        assert_eq!(images[8..12], [200, 201, 204, 205]);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let images: Vec<u8> = (0..3 * 3 * 4).collect();
        let png = encode(&images, TILES).unwrap();
        assert_eq!(decode("x", &png, TILES).unwrap(), images);
    }

    #[test]
    fn other_pictures_are_refused() {
        let message = |png: &[u8]| decode("sheet.png", png, ROWS).unwrap_err().to_string();
        let wide = png(2, 3, ColorType::Rgb, BitDepth::Eight, &rgb(6));
        assert_eq!(message(&wide), "sheet.png: a picture of 2x3 pixels, expected 3x2");
        let gray = png(3, 2, ColorType::Grayscale, BitDepth::Eight, &[0; 6]);
        assert_eq!(message(&gray), "sheet.png: Grayscale at 8 bits, expected 8-bit RGB");
        let deep = png(3, 2, ColorType::Rgb, BitDepth::Sixteen, &[0; 36]);
        assert_eq!(message(&deep), "sheet.png: Rgb at 16 bits, expected 8-bit RGB");
        let whole = png(3, 2, ColorType::Rgb, BitDepth::Eight, &rgb(6));
        for length in [0, 4, 20, whole.len() / 2] {
            let message = message(&whole[..length]);
            assert!(message.starts_with("sheet.png: not a PNG picture: "), "{message}");
        }
    }
}
