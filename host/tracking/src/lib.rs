//! plinth-tracking
