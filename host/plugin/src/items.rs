//! What a component offers, asked once, and the look-up of an item by name.

use std::sync::Arc;

use plinth_core::{PluginLimits, codes, did_you_mean};
use plinth_ext::{ExtError, Item};
use wasmtime::component::{ComponentExportIndex, Lift, TypedFunc};

use crate::{
    fault::{Call, Deadline, PluginError},
    instance::{Lent, Prepared},
};

/// What a component says that it offers, if it is sound: the answer of its `describe`.
pub(crate) fn ask<W: Lift + 'static, T>(
    prepared: &Arc<Prepared>,
    describe: &ComponentExportIndex,
    check: impl FnOnce(Vec<W>, &PluginLimits) -> Result<Vec<T>, String>,
) -> Result<Vec<T>, PluginError> {
    let call = Call { plugin: &prepared.name, item: "", func: "describe" };
    let mut instance = prepared.instantiate("", Lent::default(), Deadline::ordinary(&prepared.limits))?;
    let func: TypedFunc<(), (Vec<W>,)> = instance.func(call, describe)?;
    let (found,) = instance.call(call, |store| func.call(store, ()))?;
    Ok(check(found, &prepared.limits).map_err(|text| call.output_fault(&text))?)
}

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
