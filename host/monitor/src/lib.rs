//! plinth-monitor
