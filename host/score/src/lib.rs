//! plinth-score
