//! Transforms: fitted once on training data, applied unchanged everywhere else.

use serde::de::DeserializeOwned;

use crate::{Block, Item, Problem, Schema};

/// One transform of a component. List it in [`crate::export_transforms!`].
pub trait Transform: 'static {
    /// Kebab-case, unique within the component.
    const NAME: &'static str;
    /// One line for a list.
    const SUMMARY: &'static str;
    /// JSON Schema of its options.
    const OPTIONS: &'static str = crate::NO_OPTIONS;
    /// Its options; give the type `#[serde(deny_unknown_fields)]`.
    type Options: DeserializeOwned;
    /// A fit in progress.
    type Fitting: Fitting;
    /// A fitted transform.
    type Fitted: Fitted;

    /// Starts a fit.
    ///
    /// # Errors
    /// Where options or schema do not fit.
    fn start(input: Schema, options: Self::Options) -> Result<Self::Fitting, Problem>;

    /// Binds a state to the schema of the rows to come.
    ///
    /// # Errors
    /// Where the state is not one of ours, or was fitted on other columns.
    fn load(state: Vec<u8>, input: Schema) -> Result<Self::Fitted, Problem>;
}

/// A fit in progress. The host may run one for each partition and merge them.
pub trait Fitting: 'static {
    /// Takes the next rows of this pass.
    ///
    /// # Errors
    /// Where a row cannot be learned from.
    fn update(&mut self, rows: Block) -> Result<(), Problem>;

    /// What this fit learned in this pass, to be merged into another that started with the same arguments.
    ///
    /// # Errors
    /// Where there is nothing to tell.
    fn partial(&mut self) -> Result<Vec<u8>, Problem>;

    /// Takes in what another fit learned. The result must not depend on how rows were spread over fits.
    ///
    /// # Errors
    /// Where it is not a partial of the same fit.
    fn merge(&mut self, partial: Vec<u8>) -> Result<(), Problem>;

    /// Ends the pass.
    ///
    /// # Errors
    /// Where nothing could be learned.
    fn end_pass(&mut self) -> Result<Step, Problem>;
}

/// A fitted transform bound to an input schema.
pub trait Fitted: 'static {
    /// The schema of what `apply` returns.
    fn output(&self) -> Schema;

    /// Transforms rows; one row out for each row in, in order. Pure: same state, same rows, same bytes. Change the
    /// block that was given and return it where that can be done: nothing is copied then.
    ///
    /// # Errors
    /// Where a row cannot be transformed.
    fn apply(&self, rows: Block) -> Result<Block, Problem>;
}

/// What one pass over the data led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Feed the same data again: the algorithm needs another pass.
    AnotherPass,
    /// The fitted state, opaque to the host.
    Done(Vec<u8>),
}

/// A whole component of transforms, for those that choose what to do by name. [`crate::export_transforms!`] writes
/// one from a list of [`Transform`]s; write it by hand and export it with [`crate::export_transform_component!`]
/// where many items share one implementation.
pub trait Transforms: 'static {
    /// The transforms that the component offers.
    fn describe() -> Vec<Item>;

    /// Starts a fit.
    ///
    /// # Errors
    /// Where options or schema do not fit, or the name is none of ours.
    fn start(name: &str, input: Schema, options: &str) -> Result<Box<dyn Fitting>, Problem>;

    /// Binds a state to the schema of the rows to come.
    ///
    /// # Errors
    /// Where the state is not one of ours, or the name is none of ours.
    fn load(name: &str, state: Vec<u8>, input: Schema) -> Result<Box<dyn Fitted>, Problem>;
}

/// The list entry of an item.
pub fn item<T: Transform>() -> Item {
    Item::new(T::NAME, T::SUMMARY, T::OPTIONS)
}

/// Starts a fit of `T` with options as text.
///
/// # Errors
/// `bad-options`, and whatever `T` says.
pub fn start<T: Transform>(input: Schema, options: &str) -> Result<Box<dyn Fitting>, Problem> {
    Ok(Box::new(T::start(input, crate::options::parse(options)?)?))
}

/// Exports a component of transforms: `export_transforms!(Clip, Scale)`, each a [`Transform`].
#[macro_export]
macro_rules! export_transforms {
    ($($item:ty),+ $(,)?) => {
        /// What this component exports: the listed transforms.
        pub struct ExportedTransforms;

        impl $crate::Transforms for ExportedTransforms {
            fn describe() -> ::std::vec::Vec<$crate::Item> {
                ::std::vec![$($crate::transform::item::<$item>()),+]
            }

            fn start(
                name: &str,
                input: $crate::Schema,
                options: &str,
            ) -> ::std::result::Result<::std::boxed::Box<dyn $crate::Fitting>, $crate::Problem> {
                $(if name == <$item as $crate::Transform>::NAME {
                    return $crate::transform::start::<$item>(input, options);
                })+
                ::std::result::Result::Err($crate::unknown_item(name, &<Self as $crate::Transforms>::describe()))
            }

            fn load(
                name: &str,
                state: ::std::vec::Vec<u8>,
                input: $crate::Schema,
            ) -> ::std::result::Result<::std::boxed::Box<dyn $crate::Fitted>, $crate::Problem> {
                $(if name == <$item as $crate::Transform>::NAME {
                    return ::std::result::Result::Ok(::std::boxed::Box::new(
                        <$item as $crate::Transform>::load(state, input)?,
                    ));
                })+
                ::std::result::Result::Err($crate::unknown_item(name, &<Self as $crate::Transforms>::describe()))
            }
        }

        $crate::export_transform_component!(ExportedTransforms);
    };
}

/// Exports a component of transforms that chooses by name: a type that implements [`Transforms`].
#[macro_export]
macro_rules! export_transform_component {
    ($component:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::transform::glue::Component<$component>;
    $crate::bindings::transform::export!(Exported with_types_in $crate::bindings::transform);
        };
    };
}

/// Between the generated bindings and [`Transforms`].
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod glue {
    use std::{cell::RefCell, marker::PhantomData};

    use super::{Fitted, Fitting, Step, Transforms};
    use crate::{
        Block, Item, Problem, Schema, bindings::transform::exports::plinth::transform::transform as wit,
        host::report_panics,
    };

    pub struct Component<T>(PhantomData<T>);

    impl<T: Transforms> wit::Guest for Component<T> {
        type Fitting = FittingHandle<T>;
        type Fitted = FittedHandle<T>;

        fn describe() -> Vec<Item> {
            report_panics();
            T::describe()
        }
    }

    pub struct FittingHandle<T>(RefCell<Box<dyn Fitting>>, PhantomData<T>);

    impl<T: Transforms> wit::GuestFitting for FittingHandle<T> {
        fn start(name: String, input: Schema, options: String) -> Result<wit::Fitting, Problem> {
            report_panics();
            let fitting = T::start(&name, input, &options)?;
            Ok(wit::Fitting::new(Self(RefCell::new(fitting), PhantomData)))
        }

        fn update(&self, rows: Block) -> Result<(), Problem> {
            self.0.borrow_mut().update(rows)
        }

        fn partial(&self) -> Result<Vec<u8>, Problem> {
            self.0.borrow_mut().partial()
        }

        fn merge(&self, partial: Vec<u8>) -> Result<(), Problem> {
            self.0.borrow_mut().merge(partial)
        }

        fn end_pass(&self) -> Result<wit::Step, Problem> {
            self.0.borrow_mut().end_pass().map(|step| match step {
                Step::AnotherPass => wit::Step::AnotherPass,
                Step::Done(state) => wit::Step::Done(state),
            })
        }
    }

    pub struct FittedHandle<T>(Box<dyn Fitted>, PhantomData<T>);

    impl<T: Transforms> wit::GuestFitted for FittedHandle<T> {
        fn load(name: String, state: Vec<u8>, input: Schema) -> Result<wit::Fitted, Problem> {
            report_panics();
            Ok(wit::Fitted::new(Self(T::load(&name, state, input)?, PhantomData)))
        }

        fn output(&self) -> Schema {
            self.0.output()
        }

        fn apply(&self, rows: Block) -> Result<Block, Problem> {
            self.0.apply(rows)
        }
    }
}
