//! What version 0.1 of the WIT packages has otherwise than the newest, put in the newest's terms. Everything else is
//! linked as it is, under the older name.
//!
//! - `plinth:host/objects.list-objects` gives all URIs at once, or the problem `too-many-objects`; since 0.2 it gives
//!   them in pages.
//! - A drift test does not say what its effect size measures; since 0.2 it may.

use plinth_ext::Problem;
use wasmtime::{
    Result, StoreContextMut,
    component::{ComponentType, Lift, LinkerInstance, WasmStr},
};

use crate::{
    drift::WireTestItem,
    imports::{listed, object_functions, text, wire_problem},
    state::State,
    wire::{WireItem, WireKind},
};

/// `plinth:host/objects`.
pub(crate) fn objects(objects: &mut LinkerInstance<'_, State>) -> Result<()> {
    object_functions(objects)?;
    objects.func_wrap("list-objects", |mut store: StoreContextMut<'_, State>, (prefix,): (WasmStr,)| {
        let prefix = text(&store, &prefix)?;
        let state = store.data_mut();
        state.meter.count()?;
        let max = state.list_items_max as usize;
        let listed = listed(state, &prefix, None, max + 1).and_then(|uris| {
            if uris.len() > max {
                let message = format!("more objects below `{prefix}` than the limit of {max}");
                return Err(Problem { code: "too-many-objects".into(), message, ..Problem::default() });
            }
            Ok(uris)
        });
        Ok((listed.map_err(wire_problem),))
    })
}

/// `plinth:drift/drift.test-item`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct TestItem {
    item: WireItem,
    kinds: Vec<WireKind>,
    multivariate: bool,
}

impl From<TestItem> for WireTestItem {
    fn from(old: TestItem) -> Self {
        let TestItem { item, kinds, multivariate } = old;
        Self { item, kinds, multivariate, effect: None }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use plinth_core::PluginLimits;
    use wasmtime::{
        Engine, Store,
        component::{Component, Linker},
    };

    use crate::{
        grants::Grants, imports, limiter::Budget, manifest::Anatomy, objects::FileObjects, services::Services,
        state::State, version::WitVersion,
    };

    /// A component that was built against both versions, and lists the objects below `prefix` with either: all of them,
    /// and a page of two after `after`. What comes is how many there are, or 1000 and the first letter of the problem.
    fn mixed(prefix: &str, after: &str) -> String {
        let import = |version: &str, parameters: &str| {
            format!(
                r#"(import "plinth:types/types@{version}" (instance $types
                    (type $plain (record (field "code" string) (field "message" string) (field "retryable" bool)
                        (field "row" (option u64)) (field "column" (option string))))
                    (export "problem" (type (eq $plain)))))
                (alias export $types "problem" (type $problem))
                (import "plinth:host/objects@{version}" (instance $objects
                    (alias outer 1 $problem (type $outer))
                    (export "problem" (type $named (eq $outer)))
                    (export "list-objects"
                        (func (param "prefix" string) {parameters} (result (result (list string) (error $named)))))))"#
            )
        };
        let old = import("0.1.0", "").replace("$types", "$types1").replace("$problem", "$problem1");
        let new = import("0.2.0", r#"(param "after" (option string)) (param "max" u32)"#);
        let (prefix_len, after_len) = (prefix.len(), after.len());
        format!(
            r#"(component {} {new}
            (core module $memory (memory (export "memory") 4) (global $free (mut i32) (i32.const 65536))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                    (global.get $free)
                    (global.set $free (i32.add (global.get $free) (local.get 3))))
                (data (i32.const 1024) "{prefix}") (data (i32.const 4096) "{after}"))
            (core instance $memory (instantiate $memory))
            (alias core export $memory "memory" (core memory $mem))
            (alias core export $memory "realloc" (core func $realloc))
            (core func $old (canon lower (func $objects1 "list-objects") (memory $mem) (realloc $realloc)))
            (core func $new (canon lower (func $objects "list-objects") (memory $mem) (realloc $realloc)))
            (core module $main (import "h" "memory" (memory 1))
                (import "h" "old" (func $old (param i32 i32 i32)))
                (import "h" "new" (func $new (param i32 i32 i32 i32 i32 i32 i32)))
                (func $told (result i32)
                    (if (result i32) (i32.load8_u (i32.const 8192))
                        (then (i32.add (i32.const 1000) (i32.load8_u (i32.load (i32.const 8200)))))
                        (else (i32.load (i32.const 8204)))))
                (func (export "old") (result i32)
                    (call $old (i32.const 1024) (i32.const {prefix_len}) (i32.const 8192)) (call $told))
                (func (export "new") (param $most i32) (result i32)
                    (call $new (i32.const 1024) (i32.const {prefix_len}) (i32.const 0) (i32.const 0) (i32.const 0)
                        (local.get $most) (i32.const 8192)) (call $told))
                (func (export "after") (param $most i32) (result i32)
                    (call $new (i32.const 1024) (i32.const {prefix_len}) (i32.const 1) (i32.const 4096)
                        (i32.const {after_len}) (local.get $most) (i32.const 8192)) (call $told)))
            (core instance $main (instantiate $main (with "h" (instance (export "memory" (memory $mem))
                (export "old" (func $old)) (export "new" (func $new))))))
            (func (export "old") (result u32) (canon lift (core func $main "old")))
            (func (export "new") (param "most" u32) (result u32) (canon lift (core func $main "new")))
            (func (export "after") (param "most" u32) (result u32) (canon lift (core func $main "after"))))"#,
            old.replace("(instance $objects", "(instance $objects1")
        )
    }

    #[test]
    fn a_component_may_mix_versions_and_each_lists_as_it_says() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c", "d", "e"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let prefix = folder.path().to_str().unwrap();
        let bytes = wat::parse_str(mixed(prefix, &format!("{prefix}/b"))).unwrap();
        let anatomy = Anatomy::read("mixed", &bytes).unwrap();
        assert_eq!(anatomy.versions(), WitVersion::ALL);
        let engine = Engine::default();
        let component = Component::new(&engine, &bytes).unwrap();
        let mut linker = Linker::new(&engine);
        imports::link(&mut linker, &anatomy, &Grants::of(["objects"])).unwrap();
        let list = |limit: u32, lent: bool| {
            let limits = Arc::new(PluginLimits { list_items_max: limit, ..PluginLimits::default() });
            let budget = Budget::new(&PluginLimits::default(), Arc::default());
            let mut state = State::new("mixed".into(), &limits, Services::default(), false, budget);
            if lent {
                state.objects = Some(Arc::new(FileObjects::new([folder.path().to_owned()])));
            }
            state.begin(10_000);
            let mut store = Store::new(&engine, state);
            let instance = linker.instantiate(&mut store, &component).unwrap();
            let (old,) =
                instance.get_typed_func::<(), (u32,)>(&mut store, "old").unwrap().call(&mut store, ()).unwrap();
            let mut with = |name: &str, most: u32| {
                let func = instance.get_typed_func::<(u32,), (u32,)>(&mut store, name).unwrap();
                func.call(&mut store, (most,)).unwrap().0
            };
            (old, with("new", 9), with("new", 2), with("after", 9), with("after", 2))
        };
        assert_eq!(list(5, true), (5, 5, 2, 3, 2));
        // Over the limit the older one has a problem, and the newer one a page.
        assert_eq!(list(4, true), (1_000 + u32::from(b't'), 4, 2, 3, 2));
        let denied = 1_000 + u32::from(b'd');
        assert_eq!(list(5, false), (denied, denied, denied, denied, denied));
    }
}
