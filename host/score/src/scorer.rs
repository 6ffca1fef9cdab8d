//! Transforms and model, joined once and then called.

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow_array::{
    Array, ArrayRef, Float32Array, Float64Array,
    cast::AsArray,
    types::{Float32Type, Float64Type, Int64Type},
};
use plinth_core::did_you_mean;
use plinth_ext::{Batch, Fitted, Kind, Model, Numbers, Schema};

use crate::{Lookup, ScoreError, Signature, lookup::Joined};

/// A signature, fitted transforms in order, a model, and perhaps a transform of its answers, known to fit together.
/// Shared between threads.
pub struct Scorer {
    signature: Signature,
    /// What gives columns that callers do not send.
    joined: Option<Joined>,
    stages: Vec<(Feed, Arc<dyn Fitted>)>,
    to_model: Feed,
    model: Arc<dyn Model>,
    /// What callers get instead of the model's own answer.
    after: Option<(Feed, Arc<dyn Fitted>)>,
}

/// Predictions, and when the two halves of the work were done.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The answer: one row for each row sent.
    pub predictions: Batch,
    /// The rows with what was looked up for them, if anything was.
    pub joined: Option<Batch>,
    /// When the work was begun.
    pub began: Instant,
    /// When the model was.
    pub inferred: Instant,
    /// Time in the transforms, that of the answer included.
    pub transform: Duration,
    /// Time in the model.
    pub model: Duration,
}

impl Scorer {
    /// Joins the parts: each takes its columns by name from the one before it, the first from the signature.
    /// Columns that the next part does not take are left behind. The model's features must be numeric and may be
    /// cast to its float kind; every other kind must be the same.
    ///
    /// # Errors
    /// [`ScoreError::NotFed`], [`ScoreError::FedOtherKind`] name the parts and the column.
    pub fn new(signature: Signature, stages: Vec<Arc<dyn Fitted>>, model: Arc<dyn Model>) -> Result<Self, ScoreError> {
        let mut given = signature.columns().clone();
        let mut giver = "the signature".to_owned();
        let mut joined = Vec::with_capacity(stages.len());
        for (index, stage) in stages.into_iter().enumerate() {
            let taker = format!("transform {}", index + 1);
            joined.push((Feed::new(&giver, &given, &taker, stage.input(), false)?, Arc::clone(&stage)));
            given = stage.output().clone();
            giver = taker;
        }
        let to_model = Feed::new(&giver, &given, "the model", model.input(), true)?;
        Ok(Self { signature, joined: None, stages: joined, to_model, model, after: None })
    }

    /// The same with columns that are looked up by an entity: callers send its id in their place.
    ///
    /// # Errors
    /// [`ScoreError::BadLookup`] if the table gives nothing that the signature has; else as [`Signature::coerce`].
    pub fn with_lookup(self, lookup: Lookup) -> Result<Self, ScoreError> {
        let (joined, signature) = Joined::new(lookup, self.signature)?;
        Ok(Self { signature, joined: Some(joined), ..self })
    }

    /// The same with a transform that makes the answer of what the model says; columns that it does not take are left
    /// behind.
    ///
    /// # Errors
    /// [`ScoreError::NotFed`], [`ScoreError::FedOtherKind`].
    pub fn with_output(self, transform: Arc<dyn Fitted>) -> Result<Self, ScoreError> {
        let feed = Feed::new("the model", self.model.output(), AFTER, transform.input(), false)?;
        Ok(Self { after: Some((feed, transform)), ..self })
    }

    /// What a caller sends.
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The columns that the first transform gets: what a caller sends, and what is looked up.
    pub fn model_signature(&self) -> &Signature {
        self.joined.as_ref().map_or(&self.signature, Joined::model)
    }

    /// How many rows of the signature have an entity that is known, and how many do not; none where nothing is looked up
    /// for them.
    pub fn known(&self, raw: &Batch) -> Option<[u64; 2]> {
        let joined = self.joined.as_ref().filter(|_| *raw.schema() == *self.signature.columns());
        joined.map(|joined| joined.counts(raw))
    }

    /// Rows of the signature with what is looked up for them; those that have it already as they are.
    ///
    /// # Errors
    /// [`ScoreError::NotKnown`] if nothing is known of an entity and the model takes no nulls; [`ScoreError::Schema`].
    pub fn join<'a>(&self, raw: &'a Batch) -> Result<Cow<'a, Batch>, ScoreError> {
        match &self.joined {
            Some(joined) if joined.model().columns() == raw.schema() => Ok(Cow::Borrowed(raw)),
            joined => {
                self.signature.columns().expect_same(raw.schema())?;
                joined.as_ref().map_or(Ok(Cow::Borrowed(raw)), |joined| joined.rows(raw).map(Cow::Owned))
            }
        }
    }

    /// What [`Scorer::score`] returns.
    pub fn output(&self) -> &Schema {
        self.after.as_ref().map_or_else(|| self.model.output(), |(_, transform)| transform.output())
    }

    /// What the model returns.
    pub fn model_output(&self) -> &Schema {
        self.model.output()
    }

    /// Whether no transform is applied before the model or after it.
    pub const fn is_model_alone(&self) -> bool {
        self.stages.is_empty() && self.after.is_none()
    }

    /// What the model takes.
    pub fn feature_schema(&self) -> &Schema {
        self.model.input()
    }

    /// The features that the model would see for these rows of the signature.
    ///
    /// # Errors
    /// [`ScoreError::Part`] if a transform fails; [`ScoreError::Schema`] if the rows are not of the signature.
    pub fn features(&self, raw: &Batch) -> Result<Batch, ScoreError> {
        let mut rows = self.join(raw)?.into_owned();
        for (index, (feed, stage)) in self.stages.iter().enumerate() {
            rows = applied(&**stage, &feed.pass(rows)?, || format!("transform {}", index + 1))?;
        }
        self.to_model.pass(rows)
    }

    /// Answers for these rows of the signature: one row for each, in order.
    ///
    /// # Errors
    /// As for [`Scorer::features`], and [`ScoreError::Part`] if the model or the output transform fails.
    pub fn score(&self, raw: &Batch) -> Result<Batch, ScoreError> {
        self.finish(self.predict(&self.features(raw)?)?)
    }

    /// What the model says of these rows of the signature, whatever is made of that for callers.
    ///
    /// # Errors
    /// As for [`Scorer::score`].
    pub fn model_score(&self, raw: &Batch) -> Result<Batch, ScoreError> {
        self.predict(&self.features(raw)?)
    }

    /// The answer that callers get for what the model says.
    fn finish(&self, said: Batch) -> Result<Batch, ScoreError> {
        match &self.after {
            None => Ok(said),
            Some((feed, transform)) => applied(&**transform, &feed.pass(said)?, || AFTER.to_owned()),
        }
    }

    /// As [`Scorer::score`], with the time that each half took.
    ///
    /// # Errors
    /// As for [`Scorer::score`].
    pub fn score_timed(&self, raw: &Batch) -> Result<Scored, ScoreError> {
        let start = Instant::now();
        let rows = self.join(raw)?;
        let features = self.features(&rows)?;
        let between = Instant::now();
        let said = self.predict(&features)?;
        let after = Instant::now();
        let predictions = self.finish(said)?;
        let transform = between - start + if self.after.is_some() { after.elapsed() } else { Duration::ZERO };
        let joined = self.joined.is_some().then(|| rows.into_owned());
        Ok(Scored { predictions, joined, began: start, inferred: between, transform, model: after - between })
    }

    /// Predictions for features, as [`Scorer::features`] returns them.
    ///
    /// # Errors
    /// [`ScoreError::Part`] if the model fails.
    pub fn predict(&self, features: &Batch) -> Result<Batch, ScoreError> {
        let predictions = self.model.predict(features)?;
        if predictions.num_rows() != features.num_rows() || predictions.schema() != self.model.output() {
            return Err(bad_answer("the model".into(), features, &predictions));
        }
        Ok(predictions)
    }
}

impl fmt::Debug for Scorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scorer")
            .field("signature", &self.signature)
            .field("transforms", &self.stages.len())
            .field("features", self.model.input())
            .field("output", self.model.output())
            .finish_non_exhaustive()
    }
}

/// How errors call the transform of the answer.
const AFTER: &str = "the output transform";

/// What a transform makes of its input: as many rows, of the columns that it says.
fn applied(transform: &dyn Fitted, sent: &Batch, who: impl Fn() -> String) -> Result<Batch, ScoreError> {
    let rows = transform.apply(sent)?;
    if rows.num_rows() != sent.num_rows() || rows.schema() != transform.output() {
        return Err(bad_answer(who(), sent, &rows));
    }
    Ok(rows)
}

/// How one part's output becomes the next part's input.
struct Feed {
    to: Schema,
    /// None when the columns are the same already.
    columns: Option<Vec<Take>>,
    /// What is made of rows that are one piece of numbers, where all columns are taken in their order.
    whole: Option<Whole>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    /// What they are: the schemas differ in what may be null, which these are not.
    Same,
    /// Narrow floats, of wide ones.
    Narrow,
}

struct Take {
    from: usize,
    cast: Option<Kind>,
}

impl Feed {
    fn new(giver: &str, given: &Schema, taker: &str, wanted: &Schema, cast: bool) -> Result<Self, ScoreError> {
        if given == wanted {
            return Ok(Self { to: wanted.clone(), columns: None, whole: None });
        }
        let columns = wanted.fields().iter().map(|field| {
            let from = given.index_of(&field.name).ok_or_else(|| ScoreError::NotFed {
                taker: taker.to_owned(),
                giver: giver.to_owned(),
                column: field.name.clone(),
                hint: did_you_mean(&field.name, given.fields().iter().map(|f| f.name.as_str())),
            })?;
            let kind = given.fields()[from].kind;
            let may_cast = cast && kind.is_numeric() && matches!(field.kind, Kind::Float32 | Kind::Float64);
            if kind != field.kind && !may_cast {
                return Err(ScoreError::FedOtherKind {
                    taker: taker.to_owned(),
                    giver: giver.to_owned(),
                    column: field.name.clone(),
                    wanted: field.kind,
                    given: kind,
                });
            }
            Ok(Take { from, cast: (kind != field.kind).then_some(field.kind) })
        });
        let columns: Vec<Take> = columns.collect::<Result<_, _>>()?;
        let in_order = columns.len() == given.len() && columns.iter().enumerate().all(|(at, take)| take.from == at);
        let all = |cast: Option<Kind>| in_order && columns.iter().all(|take| take.cast == cast);
        let whole = if all(None) { Some(Whole::Same) } else { all(Some(Kind::Float32)).then_some(Whole::Narrow) };
        Ok(Self { to: wanted.clone(), columns: Some(columns), whole })
    }

    fn pass(&self, rows: Batch) -> Result<Batch, ScoreError> {
        let Some(takes) = &self.columns else { return Ok(rows) };
        let numbers = match (self.whole, rows.numbers()) {
            (Some(Whole::Same), Some(numbers)) => Some(numbers.clone()),
            (Some(Whole::Narrow), Some(Numbers::F64(values))) => {
                Some(Numbers::F32(values.iter().map(|value| *value as f32).collect()))
            }
            _ => None,
        };
        if let Some(numbers) = numbers {
            return Ok(Batch::of_numbers(self.to.clone(), numbers, rows.num_rows())?);
        }
        let columns = takes
            .iter()
            .map(|take| {
                let column = rows.column(take.from);
                take.cast.map_or_else(|| Arc::clone(column), |kind| cast(column, kind))
            })
            .collect();
        Ok(Batch::new(self.to.clone(), columns, rows.num_rows())?)
    }
}

/// A numeric column as floats of `kind`; nulls stay nulls.
pub(crate) fn cast(column: &ArrayRef, kind: Kind) -> ArrayRef {
    let wide: Float64Array = match Kind::from_arrow(column.data_type()) {
        Some(Kind::Boolean) => column.as_boolean().iter().map(|v| v.map(|v| f64::from(u8::from(v)))).collect(),
        Some(Kind::Int64) => column.as_primitive::<Int64Type>().unary(|v| v as f64),
        Some(Kind::Float32) => column.as_primitive::<Float32Type>().unary(f64::from),
        _ => column.as_primitive::<Float64Type>().clone(),
    };
    if kind == Kind::Float64 {
        Arc::new(wide)
    } else {
        Arc::new(wide.unary::<_, Float32Type>(|v| v as f32) as Float32Array)
    }
}

fn bad_answer(who: String, sent: &Batch, found: &Batch) -> ScoreError {
    let found = format!("{} rows of {} columns", found.num_rows(), found.num_columns());
    ScoreError::BadAnswer { who, sent: sent.num_rows(), found }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int64Array, StringArray};
    use plinth_core::{Coded, codes};
    use plinth_ext::{ExtError, Field};

    use super::*;

    fn schema(fields: &[(&str, Kind)]) -> Schema {
        Schema::new(fields.iter().map(|(name, kind)| Field::new(*name, *kind, true)).collect()).unwrap()
    }

    /// Counts the letters of `word`; passes `id` through.
    struct Letters {
        input: Schema,
        output: Schema,
        lose_a_row: bool,
    }

    impl Letters {
        fn arc(lose_a_row: bool) -> Arc<dyn Fitted> {
            let input = schema(&[("id", Kind::Int64), ("word", Kind::Utf8)]);
            let output = schema(&[("id", Kind::Int64), ("letters", Kind::Float64)]);
            Arc::new(Self { input, output, lose_a_row })
        }
    }

    impl Fitted for Letters {
        fn input(&self) -> &Schema {
            &self.input
        }
        fn output(&self) -> &Schema {
            &self.output
        }
        fn apply(&self, rows: &Batch) -> Result<Batch, ExtError> {
            let letters: Float64Array =
                rows.column(1).as_string::<i32>().iter().map(|word| word.map(|word| word.len() as f64)).collect();
            let out =
                Batch::new(self.output.clone(), vec![Arc::clone(rows.column(0)), Arc::new(letters)], rows.num_rows())?;
            Ok(if self.lose_a_row { out.slice(0, out.num_rows() - 1) } else { out })
        }
    }

    /// Twice its one feature.
    struct Twice {
        input: Schema,
        output: Schema,
    }

    impl Twice {
        fn of(feature: &str, kind: Kind) -> Arc<dyn Model> {
            Arc::new(Self { input: schema(&[(feature, kind)]), output: schema(&[("prediction", Kind::Float64)]) })
        }
    }

    impl Model for Twice {
        fn input(&self) -> &Schema {
            &self.input
        }
        fn output(&self) -> &Schema {
            &self.output
        }
        fn predict(&self, features: &Batch) -> Result<Batch, ExtError> {
            let wide = cast(features.column(0), Kind::Float64);
            let twice = wide.as_primitive::<Float64Type>().unary::<_, Float64Type>(|v| v * 2.0);
            Ok(Batch::new(self.output.clone(), vec![Arc::new(twice)], features.num_rows())?)
        }
    }

    fn raw() -> Batch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["a", "abc"])),
            Arc::new(Int64Array::from(vec![7, 8])),
            Arc::new(StringArray::from(vec!["x", "y"])),
        ];
        Batch::new(schema(&[("word", Kind::Utf8), ("id", Kind::Int64), ("note", Kind::Utf8)]), columns, 2).unwrap()
    }

    fn signature() -> Signature {
        Signature::new(raw().schema().clone())
    }

    #[test]
    fn parts_take_their_columns_by_name_and_leave_the_rest() {
        let scorer = Scorer::new(signature(), vec![Letters::arc(false)], Twice::of("letters", Kind::Float32)).unwrap();
        let scored = scorer.score(&raw()).unwrap();
        assert_eq!(scored.column(0).as_primitive::<Float64Type>().values(), &[2.0, 6.0]);
        assert_eq!(scorer.score_timed(&raw()).unwrap().predictions, scored);
        let features = scorer.features(&raw()).unwrap();
        assert_eq!(features.schema(), scorer.feature_schema());
        assert_eq!(scorer.predict(&features).unwrap(), scored);
    }

    /// Ten times its first feature and its second.
    struct Both {
        input: Schema,
        output: Schema,
    }

    impl Model for Both {
        fn input(&self) -> &Schema {
            &self.input
        }
        fn output(&self) -> &Schema {
            &self.output
        }
        fn predict(&self, features: &Batch) -> Result<Batch, ExtError> {
            let of = |index: usize| features.column(index).as_primitive::<Float32Type>();
            let sums: Float64Array =
                of(0).values().iter().zip(of(1).values()).map(|(a, b)| f64::from(10.0 * a + b)).collect();
            Ok(Batch::new(self.output.clone(), vec![Arc::new(sums)], features.num_rows())?)
        }
    }

    #[test]
    fn numbers_in_one_piece_stay_in_one_piece() {
        let given = schema(&[("a", Kind::Float64), ("b", Kind::Float64)]);
        let feed = |wanted: &[(&str, Kind)]| {
            let model = Both { input: schema(wanted), output: schema(&[("prediction", Kind::Float64)]) };
            Scorer::new(Signature::new(given.clone()), vec![], Arc::new(model)).unwrap()
        };
        let numbers = Numbers::F64(vec![1.0, 2.0, 3.0, 4.0].into());
        let rows = Batch::of_numbers(given.clone(), numbers, 2).unwrap();
        let columns = Batch::new(given.clone(), rows.columns().to_vec(), 2).unwrap();
        let narrow = feed(&[("a", Kind::Float32), ("b", Kind::Float32)]);
        assert!(matches!(narrow.features(&rows).unwrap().numbers(), Some(Numbers::F32(_))));
        assert!(narrow.features(&columns).unwrap().numbers().is_none());
        assert_eq!(narrow.features(&rows).unwrap(), narrow.features(&columns).unwrap());
        // In another order they are taken one by one.
        let turned = feed(&[("b", Kind::Float32), ("a", Kind::Float32)]);
        let scored = [&narrow, &turned].map(|scorer| scorer.score(&rows).unwrap());
        let values = scored.each_ref().map(|scored| scored.column(0).as_primitive::<Float64Type>().values().to_vec());
        assert_eq!(values, [[13.0, 24.0], [31.0, 42.0]]);
        // What the model takes, but for what may be null, it gets as it is.
        let fields = ["a", "b"].map(|name| Field::new(name, Kind::Float32, false));
        let input = Schema::new(fields.to_vec()).unwrap();
        let model = Both { input: input.clone(), output: schema(&[("prediction", Kind::Float64)]) };
        let given = schema(&[("a", Kind::Float32), ("b", Kind::Float32)]);
        let strict = Scorer::new(Signature::new(given.clone()), vec![], Arc::new(model)).unwrap();
        let numbers = Numbers::F32(vec![1.0, 2.0, 3.0, 4.0].into());
        let rows = Batch::of_numbers(given, numbers, 2).unwrap();
        let features = strict.features(&rows).unwrap();
        let (Some(sent), Some(fed)) = (rows.numbers(), features.numbers()) else { panic!("no numbers any more") };
        assert_eq!((features.schema(), fed.bytes().as_ptr()), (&input, sent.bytes().as_ptr()));
        assert_eq!(strict.score(&rows).unwrap(), narrow.score(&wide(&rows)).unwrap());
    }

    /// The same numbers as wide ones.
    fn wide(rows: &Batch) -> Batch {
        let Some(Numbers::F32(values)) = rows.numbers() else { panic!("these are narrow") };
        let fields = rows.schema().fields().iter().map(|field| Field { kind: Kind::Float64, ..field.clone() });
        let numbers = Numbers::F64(values.iter().map(|value| f64::from(*value)).collect());
        Batch::of_numbers(Schema::new(fields.collect()).unwrap(), numbers, rows.num_rows()).unwrap()
    }

    /// Says `high` or `low` of a prediction.
    struct Word {
        input: Schema,
        output: Schema,
    }

    impl Word {
        fn of(column: &str) -> Arc<dyn Fitted> {
            Arc::new(Self { input: schema(&[(column, Kind::Float64)]), output: schema(&[("word", Kind::Utf8)]) })
        }
    }

    impl Fitted for Word {
        fn input(&self) -> &Schema {
            &self.input
        }
        fn output(&self) -> &Schema {
            &self.output
        }
        fn apply(&self, rows: &Batch) -> Result<Batch, ExtError> {
            let words: StringArray = rows
                .column(0)
                .as_primitive::<Float64Type>()
                .iter()
                .map(|number| number.map(|number| if number > 4.0 { "high" } else { "low" }))
                .collect();
            Ok(Batch::new(self.output.clone(), vec![Arc::new(words)], rows.num_rows())?)
        }
    }

    #[test]
    fn what_the_model_says_is_made_an_answer_and_can_be_had_as_it_is() {
        let scorer = Scorer::new(signature(), vec![Letters::arc(false)], Twice::of("letters", Kind::Float64)).unwrap();
        let scorer = scorer.with_output(Word::of("prediction")).unwrap();
        assert_eq!(
            (scorer.output().fields()[0].kind, scorer.model_output().fields()[0].kind),
            (Kind::Utf8, Kind::Float64)
        );
        let answer = scorer.score(&raw()).unwrap();
        assert_eq!(answer.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["low", "high"]);
        assert_eq!(scorer.score_timed(&raw()).unwrap().predictions, answer);
        let said = scorer.model_score(&raw()).unwrap();
        assert_eq!(said.column(0).as_primitive::<Float64Type>().values(), &[2.0, 6.0]);
        let scorer = Scorer::new(signature(), vec![], Twice::of("id", Kind::Float64)).unwrap();
        let error = scorer.with_output(Word::of("preduction")).unwrap_err();
        assert_eq!(error.to_string(), "the output transform takes column `preduction`, which the model does not give");
    }

    #[test]
    fn columns_that_are_known_by_an_entity_are_not_sent() {
        let scorer = Scorer::new(signature(), vec![Letters::arc(false)], Twice::of("letters", Kind::Float64)).unwrap();
        let known = |ids: Vec<i64>, words: Vec<Option<&str>>| {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from(words.clone())),
                Arc::new(Int64Array::from(ids)),
                Arc::new(StringArray::from(words)),
            ];
            let rows = columns[0].len();
            let schema = schema(&[("word", Kind::Utf8), ("customer", Kind::Int64), ("other", Kind::Utf8)]);
            Batch::new(schema, columns, rows).unwrap()
        };
        let table = known(vec![7, 9], vec![Some("seven"), None]);
        let scorer = scorer.with_lookup(Lookup::new("customer", &table).unwrap()).unwrap();
        let sent: Vec<&str> = scorer.signature().columns().fields().iter().map(|field| field.name.as_str()).collect();
        assert_eq!(sent, ["customer", "id", "note"]);
        assert_eq!(scorer.model_signature(), &signature());
        let ids = |ids: Vec<i64>| {
            let (rows, nothing) = (ids.len(), StringArray::new_null(ids.len()));
            let columns: Vec<ArrayRef> =
                vec![Arc::new(Int64Array::from(ids.clone())), Arc::new(Int64Array::from(ids)), Arc::new(nothing)];
            Batch::new(scorer.signature().columns().clone(), columns, rows).unwrap()
        };
        let scored = scorer.score_timed(&ids(vec![9, 7, 8, 7])).unwrap();
        let twice: Vec<_> = scored.predictions.column(0).as_primitive::<Float64Type>().iter().collect();
        assert_eq!(twice, [None, Some(10.0), None, Some(10.0)]);
        let joined = scored.joined.unwrap();
        assert_eq!((joined.schema(), joined.num_rows()), (signature().columns(), 4));
        // What was looked up once is not looked up again.
        assert_eq!(scorer.score(&joined).unwrap(), scored.predictions);
        assert_eq!(scorer.known(&ids(vec![9, 7, 8, 7])), Some([3, 1]), "customer 8 is not known");
        assert_eq!(scorer.known(&joined), None);

        let error = |entity: &str, table: &Batch| Lookup::new(entity, table).unwrap_err();
        let twice = error("customer", &known(vec![7, 8, 7], vec![None; 3]));
        assert_eq!(twice.to_string(), "customer 7 is in rows 0 and 2: an entity has one row");
        let none = error("word", &table);
        assert_eq!(
            (none.to_string().as_str(), none.code()),
            ("row 1 of the look-up table has no word", codes::BAD_TABLE)
        );
        assert_eq!(error("costumer", &table).code(), codes::UNKNOWN_COLUMN);
        let alone = Scorer::new(signature(), vec![], Twice::of("id", Kind::Float64)).unwrap();
        let nothing = alone.with_lookup(Lookup::new("customer", &table.project(&[1, 2])).unwrap()).unwrap_err();
        assert_eq!(nothing.to_string(), "the look-up table has no column of the model's: word, id, note");
    }

    #[test]
    fn an_entity_that_is_not_known_is_an_error_where_the_model_takes_no_nulls() {
        let full = Schema::new(vec![Field::new("x", Kind::Float64, false)]).unwrap();
        let scorer = Scorer::new(Signature::new(full), vec![], Twice::of("x", Kind::Float64)).unwrap();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec!["ann"])), Arc::new(Float64Array::from(vec![2.0]))];
        let table = Batch::new(schema(&[("who", Kind::Utf8), ("x", Kind::Float64)]), columns, 1).unwrap();
        let scorer = scorer.with_lookup(Lookup::new("who", &table).unwrap()).unwrap();
        let ask = |who: Vec<&str>| {
            let (rows, column): (_, ArrayRef) = (who.len(), Arc::new(StringArray::from(who)));
            scorer.score(&Batch::new(scorer.signature().columns().clone(), vec![column], rows).unwrap())
        };
        assert_eq!(ask(vec!["ann"]).unwrap().column(0).as_primitive::<Float64Type>().values(), &[4.0]);
        let error = ask(vec!["ann", "bob"]).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.code()),
            ("row 1: nothing is known of who `bob`", codes::BAD_VALUE)
        );
    }

    #[test]
    fn a_model_may_stand_alone() {
        let scorer = Scorer::new(signature(), vec![], Twice::of("id", Kind::Float64)).unwrap();
        let scored = scorer.score(&raw()).unwrap();
        assert_eq!(scored.column(0).as_primitive::<Float64Type>().values(), &[14.0, 16.0]);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused_by_name() {
        let error = Scorer::new(signature(), vec![Letters::arc(false)], Twice::of("leters", Kind::Float64));
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), "the model takes column `leters`, which transform 1 does not give");
        assert_eq!(error.hint().unwrap(), "did you mean `letters`?");
        let error = Scorer::new(signature(), vec![], Twice::of("word", Kind::Float64)).unwrap_err();
        assert_eq!(error.to_string(), "the model takes column `word` as float64, but the signature gives utf8");
        assert_eq!(error.code(), codes::SCHEMA_MISMATCH);
    }

    #[test]
    fn rows_of_another_schema_and_lost_rows_are_errors() {
        let scorer = Scorer::new(signature(), vec![Letters::arc(true)], Twice::of("letters", Kind::Float64)).unwrap();
        assert_eq!(scorer.score(&raw().project(&[0, 1])).unwrap_err().code(), codes::SCHEMA_MISMATCH);
        let error = scorer.score(&raw()).unwrap_err();
        assert_eq!(error.to_string(), "transform 1 returned 1 rows of 2 columns for 2 rows");
    }
}
