//! plinth-pipeline
