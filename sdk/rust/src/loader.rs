//! Loaders: turn a source into partitions that can be read in parallel, and partitions into blocks.

use serde::de::DeserializeOwned;

use crate::{Block, Item, Problem, Schema};

/// One loader of a component. List it in [`crate::export_loaders!`].
pub trait Loader: 'static {
    /// Kebab-case, unique within the component.
    const NAME: &'static str;
    /// One line for a list.
    const SUMMARY: &'static str;
    /// JSON Schema of its options.
    const OPTIONS: &'static str = crate::NO_OPTIONS;
    /// Its options; give the type `#[serde(deny_unknown_fields)]`.
    type Options: DeserializeOwned;
    /// One partition being read.
    type Reader: Reader;

    /// Looks at a source: its schema (inferred or from the options) and its partitions.
    ///
    /// # Errors
    /// Where the source cannot be read or is not what this loader reads.
    fn plan(source: &str, options: Self::Options) -> Result<ReadPlan, Problem>;

    /// Opens a partition of a plan made earlier from the same source and options, possibly in another instance.
    ///
    /// # Errors
    /// Where the source cannot be read, or the token is none of ours.
    fn open(source: &str, options: Self::Options, schema: Schema, token: Vec<u8>) -> Result<Self::Reader, Problem>;
}

/// One partition being read.
pub trait Reader: 'static {
    /// At most `max_rows` rows; none at the end.
    ///
    /// # Errors
    /// Where a row cannot be read; name it with [`Problem::at_row`].
    fn next(&mut self, max_rows: u32) -> Result<Option<Block>, Problem>;
}

/// What a source holds and how to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPlan {
    /// The columns that every partition yields.
    pub schema: Schema,
    /// In source order; rows of partition i come before those of partition i + 1.
    pub partitions: Vec<Partition>,
}

/// A part of a source that can be read on its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Partition {
    /// Opaque to the host; given back to [`Loader::open`], possibly on another machine.
    pub token: Vec<u8>,
    /// Number of rows, if known.
    pub rows_hint: Option<u64>,
    /// Number of bytes of the source, if known.
    pub bytes_hint: Option<u64>,
}

/// A whole component of loaders, for those that choose what to do by name; see [`crate::transform::Transforms`].
pub trait Loaders: 'static {
    /// The loaders that the component offers.
    fn describe() -> Vec<Item>;

    /// As [`Loader::plan`], by name.
    ///
    /// # Errors
    /// As there; also where the name is none of ours.
    fn plan(name: &str, source: &str, options: &str) -> Result<ReadPlan, Problem>;

    /// As [`Loader::open`], by name.
    ///
    /// # Errors
    /// As there; also where the name is none of ours.
    fn open(
        name: &str,
        source: &str,
        options: &str,
        schema: Schema,
        token: Vec<u8>,
    ) -> Result<Box<dyn Reader>, Problem>;
}

/// The list entry of an item.
pub fn item<L: Loader>() -> Item {
    Item::new(L::NAME, L::SUMMARY, L::OPTIONS)
}

/// Plans with options as text.
///
/// # Errors
/// `bad-options`, and whatever `L` says.
pub fn plan<L: Loader>(source: &str, options: &str) -> Result<ReadPlan, Problem> {
    L::plan(source, crate::options::parse(options)?)
}

/// Opens with options as text.
///
/// # Errors
/// `bad-options`, and whatever `L` says.
pub fn open<L: Loader>(
    source: &str,
    options: &str,
    schema: Schema,
    token: Vec<u8>,
) -> Result<Box<dyn Reader>, Problem> {
    Ok(Box::new(L::open(source, crate::options::parse(options)?, schema, token)?))
}

/// Exports a component of loaders: `export_loaders!(Csv)`, each a [`Loader`].
#[macro_export]
macro_rules! export_loaders {
    ($($item:ty),+ $(,)?) => {
        /// What this component exports: the listed loaders.
        pub struct ExportedLoaders;

        impl $crate::Loaders for ExportedLoaders {
            fn describe() -> ::std::vec::Vec<$crate::Item> {
                ::std::vec![$($crate::loader::item::<$item>()),+]
            }

            fn plan(
                name: &str,
                source: &str,
                options: &str,
            ) -> ::std::result::Result<$crate::loader::ReadPlan, $crate::Problem> {
                $(if name == <$item as $crate::Loader>::NAME {
                    return $crate::loader::plan::<$item>(source, options);
                })+
                ::std::result::Result::Err($crate::unknown_item(name, &<Self as $crate::Loaders>::describe()))
            }

            fn open(
                name: &str,
                source: &str,
                options: &str,
                schema: $crate::Schema,
                token: ::std::vec::Vec<u8>,
            ) -> ::std::result::Result<::std::boxed::Box<dyn $crate::loader::Reader>, $crate::Problem> {
                $(if name == <$item as $crate::Loader>::NAME {
                    return $crate::loader::open::<$item>(source, options, schema, token);
                })+
                ::std::result::Result::Err($crate::unknown_item(name, &<Self as $crate::Loaders>::describe()))
            }
        }

        $crate::export_loader_component!(ExportedLoaders);
    };
}

/// Exports a component of loaders that chooses by name: a type that implements [`Loaders`].
#[macro_export]
macro_rules! export_loader_component {
    ($component:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::loader::glue::Component<$component>;
    $crate::bindings::loader::export!(Exported with_types_in $crate::bindings::loader);
        };
    };
}

/// Between the generated bindings and [`Loaders`].
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod glue {
    use std::{cell::RefCell, marker::PhantomData};

    use super::{Loaders, Reader};
    use crate::{
        Block, Item, Problem, Schema, bindings::loader::exports::plinth::loader::loader as wit, host::report_panics,
    };

    pub struct Component<T>(PhantomData<T>);

    impl<T: Loaders> wit::Guest for Component<T> {
        type Reader = ReaderHandle<T>;

        fn describe() -> Vec<Item> {
            report_panics();
            T::describe()
        }

        fn plan(name: String, source: String, options: String) -> Result<wit::ReadPlan, Problem> {
            report_panics();
            let plan = T::plan(&name, &source, &options)?;
            let partitions = plan.partitions.into_iter().map(|part| wit::Partition {
                token: part.token,
                rows_hint: part.rows_hint,
                bytes_hint: part.bytes_hint,
            });
            Ok(wit::ReadPlan { schema: plan.schema, partitions: partitions.collect() })
        }
    }

    pub struct ReaderHandle<T>(RefCell<Box<dyn Reader>>, PhantomData<T>);

    impl<T: Loaders> wit::GuestReader for ReaderHandle<T> {
        fn open(
            name: String,
            source: String,
            options: String,
            schema: Schema,
            token: Vec<u8>,
        ) -> Result<wit::Reader, Problem> {
            report_panics();
            let reader = T::open(&name, &source, &options, schema, token)?;
            Ok(wit::Reader::new(Self(RefCell::new(reader), PhantomData)))
        }

        fn next(&self, max_rows: u32) -> Result<Option<Block>, Problem> {
            self.0.borrow_mut().next(max_rows)
        }
    }
}
