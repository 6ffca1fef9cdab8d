//! plinth-table
