//! The bindings that wit-bindgen makes of `wit/`: one module for what the host offers, one for each extension point.
//!
//! The shared types are ours (`with`), so a block moves across without being copied. Each module describes only its
//! imports; a world's exports are described where an export macro is called, so a component states no more than it
//! exports and imports no more than it calls.

/// What the host offers.
pub mod host {
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/host"],
        inline: "
            package plinth:rust-sdk;
            world offered {
                import plinth:host/log@0.2.0;
                import plinth:host/config@0.2.0;
                import plinth:host/kv@0.2.0;
                import plinth:host/http@0.2.0;
                import plinth:host/nn@0.2.0;
                import plinth:host/clock@0.2.0;
                import plinth:host/random@0.2.0;
                import plinth:host/secrets@0.2.0;
                import plinth:host/objects@0.2.0;
                import plinth:host/tables@0.2.0;
            }
        ",
        world: "plinth:rust-sdk/offered",
        with: {
            "plinth:types/types@0.2.0": crate::types,
            "plinth:host/log@0.2.0": generate,
            "plinth:host/config@0.2.0": generate,
            "plinth:host/kv@0.2.0": generate,
            "plinth:host/http@0.2.0": generate,
            "plinth:host/nn@0.2.0": generate,
            "plinth:host/clock@0.2.0": generate,
            "plinth:host/random@0.2.0": generate,
            "plinth:host/secrets@0.2.0": generate,
            "plinth:host/objects@0.2.0": generate,
            "plinth:host/tables@0.2.0": generate,
        },
    });
}

/// The loader extension point.
pub mod loader {
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/host", "../../wit/loader"],
        world: "plinth:loader/loader-plugin",
        with: {
            "plinth:types/types@0.2.0": crate::types,
            "plinth:host/log@0.2.0": crate::bindings::host::plinth::host::log,
            "plinth:host/config@0.2.0": crate::bindings::host::plinth::host::config,
            "plinth:host/objects@0.2.0": crate::bindings::host::plinth::host::objects,
        },
        pub_export_macro: true,
    });
}

/// The transform extension point.
pub mod transform {
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/host", "../../wit/transform"],
        world: "plinth:transform/transform-plugin",
        with: {
            "plinth:types/types@0.2.0": crate::types,
            "plinth:host/log@0.2.0": crate::bindings::host::plinth::host::log,
            "plinth:host/config@0.2.0": crate::bindings::host::plinth::host::config,
        },
        pub_export_macro: true,
    });
}

/// The gate extension point.
pub mod gate {
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/host", "../../wit/gate"],
        world: "plinth:gate/gate-plugin",
        with: {
            "plinth:types/types@0.2.0": crate::types,
            "plinth:host/log@0.2.0": crate::bindings::host::plinth::host::log,
            "plinth:host/config@0.2.0": crate::bindings::host::plinth::host::config,
            "plinth:host/tables@0.2.0": crate::bindings::host::plinth::host::tables,
        },
        pub_export_macro: true,
    });
}

/// The drift test extension point.
pub mod drift {
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/host", "../../wit/drift"],
        world: "plinth:drift/drift-plugin",
        with: {
            "plinth:types/types@0.2.0": crate::types,
            "plinth:host/log@0.2.0": crate::bindings::host::plinth::host::log,
            "plinth:host/config@0.2.0": crate::bindings::host::plinth::host::config,
        },
        pub_export_macro: true,
    });
}

/// The predict extension point.
pub mod predict {
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/host", "../../wit/predict"],
        world: "plinth:predict/model-plugin",
        with: {
            "plinth:types/types@0.2.0": crate::types,
            "plinth:host/log@0.2.0": crate::bindings::host::plinth::host::log,
            "plinth:host/config@0.2.0": crate::bindings::host::plinth::host::config,
        },
        pub_export_macro: true,
    });
}
