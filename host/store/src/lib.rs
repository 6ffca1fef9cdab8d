//! plinth-store
