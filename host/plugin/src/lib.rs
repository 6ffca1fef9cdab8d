//! plinth-plugin
