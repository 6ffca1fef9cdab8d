//! plinth-train
