//! Plain typed tensors, in row-major order.

use ort::value::{DynValue, TensorElementType};

use crate::TensorError;

/// Values and their shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

/// The values of a tensor, row by row.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Data {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// True or false.
    Bool(Vec<bool>),
    /// Text.
    Text(Vec<String>),
}

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// 32-bit floats.
    F32,
    /// 64-bit floats.
    F64,
    /// 32-bit integers.
    I32,
    /// 64-bit integers.
    I64,
    /// True or false.
    Bool,
    /// Text.
    Text,
}

impl Tensor {
    /// Values of a shape.
    ///
    /// # Errors
    /// [`TensorError::ShapeMismatch`] unless there are as many values as the shape says.
    pub fn new(shape: Vec<usize>, data: Data) -> Result<Self, TensorError> {
        let expected = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
        if expected != Some(data.len()) {
            return Err(TensorError::ShapeMismatch { shape, values: data.len() });
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

    /// A copy of what the library returned.
    pub(crate) fn from_value(value: &DynValue) -> Result<Self, TensorError> {
        let Some(dtype) = value.dtype().tensor_type().and_then(DType::from_ort) else {
            return Err(TensorError::run(format!("an output is {}, not a tensor of a type we know", value.dtype())));
        };
        let (shape, data) = match dtype {
            DType::F32 => value.try_extract_tensor().map(|(shape, v)| (shape, Data::F32(v.to_vec()))),
            DType::F64 => value.try_extract_tensor().map(|(shape, v)| (shape, Data::F64(v.to_vec()))),
            DType::I32 => value.try_extract_tensor().map(|(shape, v)| (shape, Data::I32(v.to_vec()))),
            DType::I64 => value.try_extract_tensor().map(|(shape, v)| (shape, Data::I64(v.to_vec()))),
            DType::Bool => value.try_extract_tensor().map(|(shape, v)| (shape, Data::Bool(v.to_vec()))),
            DType::Text => value.try_extract_strings().map(|(shape, v)| (shape, Data::Text(v))),
        }
        .map_err(TensorError::run)?;
        let shape = shape.iter().map(|&dim| usize::try_from(dim).unwrap_or_default()).collect();
        Self::new(shape, data)
    }
}

impl Data {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::Text(v) => v.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their type.
    pub const fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F64(_) => DType::F64,
            Self::I32(_) => DType::I32,
            Self::I64(_) => DType::I64,
            Self::Bool(_) => DType::Bool,
            Self::Text(_) => DType::Text,
        }
    }
}

impl DType {
    /// As ONNX and Open Inference Protocol users would read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::Bool => "bool",
            Self::Text => "string",
        }
    }

    pub(crate) fn from_ort(ty: TensorElementType) -> Option<Self> {
        Some(match ty {
            TensorElementType::Float32 => Self::F32,
            TensorElementType::Float64 => Self::F64,
            TensorElementType::Int32 => Self::I32,
            TensorElementType::Int64 => Self::I64,
            TensorElementType::Bool => Self::Bool,
            TensorElementType::String => Self::Text,
            _ => return None,
        })
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
}
