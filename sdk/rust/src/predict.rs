//! Models that are components: loaded from an artifact, served like any other model.

use serde::de::DeserializeOwned;

use crate::{Block, Item, Problem, Schema};

/// One kind of model of a component. List it in [`crate::export_models!`].
pub trait Model: Predictor + Sized {
    /// Kebab-case, unique within the component.
    const NAME: &'static str;
    /// One line for a list.
    const SUMMARY: &'static str;
    /// JSON Schema of its options.
    const OPTIONS: &'static str = crate::NO_OPTIONS;
    /// Its options; give the type `#[serde(deny_unknown_fields)]`.
    type Options: DeserializeOwned;

    /// A model ready to predict rows of this schema. The artifact is what was registered with the model version, and
    /// empty where the component is all there is.
    ///
    /// # Errors
    /// Where the artifact is none of ours, or options or schema do not fit it.
    fn load(artifact: Vec<u8>, input: Schema, options: Self::Options) -> Result<Self, Problem>;
}

/// A model that is loaded.
pub trait Predictor: 'static {
    /// The schema of what `predict` returns, such as one column `prediction`.
    fn output(&self) -> Schema;

    /// Predicts; one row out for each row in, in order. Pure: same artifact, same rows, same bytes.
    ///
    /// # Errors
    /// Where a row cannot be predicted.
    fn predict(&self, rows: Block) -> Result<Block, Problem>;
}

/// A whole component of models, for those that choose what to do by name. [`crate::export_models!`] writes one from a
/// list of [`Model`]s; write it by hand and export it with [`crate::export_predict_component!`] where many items share
/// one implementation.
pub trait Models: 'static {
    /// The kinds of model that the component offers.
    fn describe() -> Vec<Item>;

    /// A model ready to predict rows of this schema.
    ///
    /// # Errors
    /// Where artifact, options or schema do not fit, or the name is none of ours.
    fn load(name: &str, artifact: Vec<u8>, input: Schema, options: &str) -> Result<Box<dyn Predictor>, Problem>;
}

/// The list entry of an item.
pub fn item<T: Model>() -> Item {
    Item::new(T::NAME, T::SUMMARY, T::OPTIONS)
}

/// Loads a `T` with options as text.
///
/// # Errors
/// `bad-options`, and whatever `T` says.
pub fn load<T: Model>(artifact: Vec<u8>, input: Schema, options: &str) -> Result<Box<dyn Predictor>, Problem> {
    Ok(Box::new(T::load(artifact, input, crate::options::parse(options)?)?))
}

/// Exports a component of models: `export_models!(Linear, Tree)`, each a [`Model`].
#[macro_export]
macro_rules! export_models {
    ($($item:ty),+ $(,)?) => {
        /// What this component exports: the listed models.
        pub struct ExportedModels;

        impl $crate::Models for ExportedModels {
            fn describe() -> ::std::vec::Vec<$crate::Item> {
                ::std::vec![$($crate::predict::item::<$item>()),+]
            }

            fn load(
                name: &str,
                artifact: ::std::vec::Vec<u8>,
                input: $crate::Schema,
                options: &str,
            ) -> ::std::result::Result<::std::boxed::Box<dyn $crate::Predictor>, $crate::Problem> {
                $(if name == <$item as $crate::Model>::NAME {
                    return $crate::predict::load::<$item>(artifact, input, options);
                })+
                ::std::result::Result::Err($crate::unknown_item(name, &<Self as $crate::Models>::describe()))
            }
        }

        $crate::export_predict_component!(ExportedModels);
    };
}

/// Exports a component of models that chooses by name: a type that implements [`Models`].
#[macro_export]
macro_rules! export_predict_component {
    ($component:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::predict::glue::Component<$component>;
    $crate::bindings::predict::export!(Exported with_types_in $crate::bindings::predict);
        };
    };
}

/// Between the generated bindings and [`Models`].
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod glue {
    use std::marker::PhantomData;

    use super::{Models, Predictor};
    use crate::{
        Block, Item, Problem, Schema, bindings::predict::exports::plinth::predict::predict as wit, host::report_panics,
    };

    pub struct Component<T>(PhantomData<T>);

    impl<T: Models> wit::Guest for Component<T> {
        type Model = ModelHandle<T>;

        fn describe() -> Vec<Item> {
            report_panics();
            T::describe()
        }
    }

    pub struct ModelHandle<T>(Box<dyn Predictor>, PhantomData<T>);

    impl<T: Models> wit::GuestModel for ModelHandle<T> {
        fn load(name: String, artifact: Vec<u8>, input: Schema, options: String) -> Result<wit::Model, Problem> {
            report_panics();
            Ok(wit::Model::new(Self(T::load(&name, artifact, input, &options)?, PhantomData)))
        }

        fn output(&self) -> Schema {
            self.0.output()
        }

        fn predict(&self, rows: Block) -> Result<Block, Problem> {
            self.0.predict(rows)
        }
    }
}
