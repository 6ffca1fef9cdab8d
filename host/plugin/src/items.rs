//! What a component offers, asked once, and the look-up of an item by name.

use plinth_core::{codes, did_you_mean};
use plinth_ext::{ExtError, Item};

use crate::fault::Call;

/// The item of that name.
///
/// # Errors
/// `plugin-item-not-found` with a did-you-mean.
pub(crate) fn find<'a, T>(items: &'a [T], call: Call<'_>, of: impl Fn(&T) -> &Item + Copy) -> Result<&'a T, ExtError> {
    items.iter().find(|item| of(item).name == call.item).ok_or_else(|| {
        let message = format!("plugin `{}` offers no `{}`", call.plugin, call.item);
        let names: Vec<&str> = items.iter().map(|item| of(item).name.as_str()).collect();
        ExtError::fault(call.plugin, codes::PLUGIN_ITEM_NOT_FOUND, message)
            .with_hint(did_you_mean(call.item, names.iter().copied()))
    })
}
