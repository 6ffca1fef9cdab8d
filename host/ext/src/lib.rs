//! plinth-ext
