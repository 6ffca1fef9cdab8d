//! Between tensors of ours and those of the library.

use half::{
    bf16, f16,
    slice::{HalfBitsSliceExt, HalfFloatSliceExt},
};
use ort::{
    session::SessionInputValue,
    value::{DynValue, Outlet, TensorElementType, TensorRef},
};
use plinth_ext::{DType, Data, Slot, Tensor};

use crate::TensorError;

/// The type of a tensor's elements, if it is one that we know.
pub(crate) const fn dtype(ty: TensorElementType) -> Option<DType> {
    Some(match ty {
        TensorElementType::Float16 => DType::F16,
        TensorElementType::Bfloat16 => DType::BF16,
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Float64 => DType::F64,
        TensorElementType::Int8 => DType::I8,
        TensorElementType::Int16 => DType::I16,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Uint16 => DType::U16,
        TensorElementType::Uint32 => DType::U32,
        TensorElementType::Uint64 => DType::U64,
        TensorElementType::Bool => DType::Bool,
        TensorElementType::String => DType::Text,
        _ => return None,
    })
}

/// What the library says of an input or an output.
pub(crate) fn slot(outlet: &Outlet) -> Slot {
    let dtype = outlet.dtype().tensor_type().and_then(dtype);
    let shape = outlet.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default();
    let shape = shape.into_iter().map(|dim| usize::try_from(dim).ok()).collect();
    Slot { name: outlet.name().to_owned(), dtype, shape }
}

/// A tensor lent to the library; text is copied.
pub(crate) fn lend(tensor: &Tensor) -> Result<SessionInputValue<'_>, TensorError> {
    macro_rules! lend {
        ($values:expr) => {
            TensorRef::from_array_view((tensor.shape(), $values)).map_err(TensorError::run)?.into()
        };
    }
    Ok(match tensor.data() {
        Data::F16(v) => lend!(v.reinterpret_cast::<f16>()),
        Data::BF16(v) => lend!(v.reinterpret_cast::<bf16>()),
        Data::F32(v) => lend!(v.as_slice()),
        Data::F64(v) => lend!(v.as_slice()),
        Data::I8(v) => lend!(v.as_slice()),
        Data::I16(v) => lend!(v.as_slice()),
        Data::I32(v) => lend!(v.as_slice()),
        Data::I64(v) => lend!(v.as_slice()),
        Data::U8(v) => lend!(v.as_slice()),
        Data::U16(v) => lend!(v.as_slice()),
        Data::U32(v) => lend!(v.as_slice()),
        Data::U64(v) => lend!(v.as_slice()),
        Data::Bool(v) => lend!(v.as_slice()),
        Data::Text(v) => {
            let texts = ort::value::Tensor::from_string_array((tensor.shape(), v.as_slice()));
            texts.map_err(TensorError::run)?.into()
        }
    })
}

/// A copy of what the library returned.
pub(crate) fn copy(value: &DynValue) -> Result<Tensor, TensorError> {
    let Some(dtype) = value.dtype().tensor_type().and_then(dtype) else {
        return Err(TensorError::run(format!("an output is {}, not a tensor of a type we know", value.dtype())));
    };
    macro_rules! copy {
        ($variant:ident) => {
            value.try_extract_tensor().map(|(shape, v)| (shape, Data::$variant(v.to_vec())))
        };
    }
    let (shape, data) = match dtype {
        DType::F16 => {
            value.try_extract_tensor::<f16>().map(|(shape, v)| (shape, Data::F16(v.reinterpret_cast().to_vec())))
        }
        DType::BF16 => {
            value.try_extract_tensor::<bf16>().map(|(shape, v)| (shape, Data::BF16(v.reinterpret_cast().to_vec())))
        }
        DType::F32 => copy!(F32),
        DType::F64 => copy!(F64),
        DType::I8 => copy!(I8),
        DType::I16 => copy!(I16),
        DType::I32 => copy!(I32),
        DType::I64 => copy!(I64),
        DType::U8 => copy!(U8),
        DType::U16 => copy!(U16),
        DType::U32 => copy!(U32),
        DType::U64 => copy!(U64),
        DType::Bool => copy!(Bool),
        DType::Text => value.try_extract_strings().map(|(shape, v)| (shape, Data::Text(v))),
    }
    .map_err(TensorError::run)?;
    let shape = shape.iter().map(|&dim| usize::try_from(dim).unwrap_or_default()).collect();
    Ok(Tensor::new(shape, data)?)
}
