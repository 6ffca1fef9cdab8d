//! plinth-tensor
