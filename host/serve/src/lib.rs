//! plinth-serve
