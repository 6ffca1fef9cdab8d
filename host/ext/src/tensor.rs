//! Plain typed tensors in row-major order, and models that take and return them.

use std::{fmt, ops::Range};

use crate::ExtError;

/// A model of tensors: any number of them in, any number out.
pub trait Graph: Send + Sync + fmt::Debug {
    /// What it takes, in order.
    fn inputs(&self) -> &[Slot];

    /// What it returns, in order.
    fn outputs(&self) -> &[Slot];

    /// Runs it on tensors in the order of [`Graph::inputs`]; returns tensors in the order of [`Graph::outputs`]. May be
    /// called from many threads at once.
    ///
    /// # Errors
    /// [`ExtError`]: the tensors are not those it takes, or it fails on their values.
    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExtError>;

    /// How its file says that it is to be run, such as `onnx`.
    fn format(&self) -> &'static str;
}

/// A named input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name in the graph.
    pub name: String,
    /// Type of its elements; none if it is no tensor of a type we know.
    pub dtype: Option<DType>,
    /// Its dimensions; none where any size will do.
    pub shape: Vec<Option<usize>>,
}

impl Slot {
    /// Whether a tensor of this shape fits.
    pub fn accepts(&self, shape: &[usize]) -> bool {
        self.shape.len() == shape.len()
            && self.shape.iter().zip(shape).all(|(want, got)| want.is_none_or(|w| w == *got))
    }

    /// The shape for a person: `[?, 70]`.
    pub fn shape_text(&self) -> String {
        let dims: Vec<String> = self.shape.iter().map(|dim| dim.map_or("?".into(), |d| d.to_string())).collect();
        format!("[{}]", dims.join(", "))
    }
}

/// Values and their shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

/// A tensor has not as many values as its shape says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tensor of the shape {shape:?} has {values} values")]
pub struct ShapeMismatch {
    /// The shape.
    pub shape: Vec<usize>,
    /// How many values there are.
    pub values: usize,
}

impl Tensor {
    /// Values of a shape.
    ///
    /// # Errors
    /// [`ShapeMismatch`] unless there are as many values as the shape says.
    pub fn new(shape: Vec<usize>, data: Data) -> Result<Self, ShapeMismatch> {
        let expected = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
        if expected != Some(data.len()) {
            return Err(ShapeMismatch { shape, values: data.len() });
        }
        Ok(Self { shape, data })
    }

    /// Its dimensions; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its values.
    pub const fn data(&self) -> &Data {
        &self.data
    }

    /// Its values, taken out.
    pub fn into_data(self) -> Data {
        self.data
    }

    /// Type of its values.
    pub const fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// Its first dimension, if it has any.
    pub fn rows(&self) -> Option<usize> {
        self.shape.first().copied()
    }

    /// Some of its rows.
    ///
    /// # Panics
    /// If it has not that many rows.
    #[must_use]
    pub fn slice(&self, rows: Range<usize>) -> Self {
        let width: usize = self.shape[1..].iter().product();
        let data = self.data.slice(rows.start * width..rows.end * width);
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        Self { shape, data }
    }

    /// The rows of all of them, one after the other; none unless they are alike but for their number of rows.
    pub fn join(parts: &[&Self]) -> Option<Self> {
        let first = parts.first()?;
        let mut shape = first.shape.clone();
        let alike = |part: &&&Self| part.dtype() == first.dtype() && part.shape.get(1..) == first.shape.get(1..);
        if shape.is_empty() || !parts.iter().all(|part| alike(&part)) {
            return None;
        }
        shape[0] = parts.iter().map(|part| part.shape[0]).sum();
        let mut data = first.data.clone();
        parts[1..].iter().for_each(|part| data.extend(&part.data));
        Self::new(shape, data).ok()
    }
}

/// One list of methods for all element types.
macro_rules! data {
    ($($variant:ident($type:ty) $name:literal $doc:literal,)*) => {
        /// The values of a tensor, row by row.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Data {
            $(#[doc = $doc] $variant(Vec<$type>),)*
        }

        /// Type of a tensor's elements.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum DType {
            $(#[doc = $doc] $variant,)*
        }

        impl Data {
            /// Number of values.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(v) => v.len(),)* }
            }

            /// Their type.
            pub const fn dtype(&self) -> DType {
                match self { $(Self::$variant(_) => DType::$variant,)* }
            }

            /// `count` times nothing: zeros, false, or empty texts.
            pub fn zeros(dtype: DType, count: usize) -> Self {
                match dtype { $(DType::$variant => Self::$variant(vec![Default::default(); count]),)* }
            }

            /// No values yet, with room for `count`.
            pub fn with_capacity(dtype: DType, count: usize) -> Self {
                match dtype { $(DType::$variant => Self::$variant(Vec::with_capacity(count)),)* }
            }

            /// Some of the values.
            ///
            /// # Panics
            /// If there are not that many.
            #[must_use]
            pub fn slice(&self, range: Range<usize>) -> Self {
                match self { $(Self::$variant(v) => Self::$variant(v[range].to_vec()),)* }
            }

            fn extend(&mut self, other: &Self) {
                match (self, other) {
                    $((Self::$variant(v), Self::$variant(w)) => v.extend_from_slice(w),)*
                    // Whoever joins has looked; the number of values will tell otherwise.
                    _ => {}
                }
            }
        }

        impl DType {
            /// As users of ONNX would read it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

data! {
    F16(u16) "float16" "16-bit floats, by their bits.",
    BF16(u16) "bfloat16" "Brain floats of 16 bits, by their bits.",
    F32(f32) "float32" "32-bit floats.",
    F64(f64) "float64" "64-bit floats.",
    I8(i8) "int8" "8-bit integers.",
    I16(i16) "int16" "16-bit integers.",
    I32(i32) "int32" "32-bit integers.",
    I64(i64) "int64" "64-bit integers.",
    U8(u8) "uint8" "8-bit integers without a sign.",
    U16(u16) "uint16" "16-bit integers without a sign.",
    U32(u32) "uint32" "32-bit integers without a sign.",
    U64(u64) "uint64" "64-bit integers without a sign.",
    Bool(bool) "bool" "True or false.",
    Text(String) "string" "Text.",
}

impl Data {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_has_as_many_values_as_its_shape_says() {
        assert!(Tensor::new(vec![2, 3], Data::F32(vec![0.0; 6])).is_ok());
        assert!(Tensor::new(vec![], Data::I64(vec![1])).is_ok());
        assert!(Tensor::new(vec![0, 3], Data::F32(vec![])).is_ok());
        let error = Tensor::new(vec![2, 3], Data::F32(vec![0.0; 5])).unwrap_err();
        assert_eq!(error.to_string(), "a tensor of the shape [2, 3] has 5 values");
        assert!(Tensor::new(vec![usize::MAX, 2], Data::Bool(vec![])).is_err());
    }

    #[test]
    fn rows_that_are_joined_come_apart_again() {
        let tensor = |shape: &[usize], from: i8| {
            let count = shape.iter().product::<usize>();
            Tensor::new(shape.to_vec(), Data::I8((from..).take(count).collect())).unwrap()
        };
        let (a, b) = (tensor(&[1, 2, 2], 0), tensor(&[2, 2, 2], 4));
        let joined = Tensor::join(&[&a, &b]).unwrap();
        assert_eq!(joined, tensor(&[3, 2, 2], 0));
        assert_eq!((joined.slice(0..1), joined.slice(1..3)), (a.clone(), b));
        assert_eq!(Tensor::join(&[&a, &tensor(&[1, 4], 0)]), None);
        assert_eq!(Tensor::join(&[&a, &Tensor::new(vec![1, 2, 2], Data::U8(vec![0; 4])).unwrap()]), None);
        assert_eq!(Tensor::join(&[&tensor(&[], 0)]), None);
    }
}
