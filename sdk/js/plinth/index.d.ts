/** Types of the SDK. README.md says how it is used. */

/** Logical type of a column. */
export type Kind = "boolean" | "int64" | "timestamp-us" | "float32" | "float64" | "utf8" | "binary";

/** Every kind of column. */
export const KINDS: readonly Kind[];
/** The kinds that are numbers. */
export const NUMERIC: readonly Kind[];

/** One column of a schema. */
export interface Field {
  readonly name: string;
  readonly kind: Kind;
  readonly nullable: boolean;
}

/** The columns of a table, first to last. */
export class Schema {
  /** Columns are nullable unless they say otherwise. */
  constructor(fields: Iterable<{ name: string; kind: Kind; nullable?: boolean }>);
  readonly fields: readonly Field[];
  readonly length: number;
  /** Where a column stands, or -1. */
  indexOf(name: string): number;
  /** Where a column stands; throws `unknown-column`, and `wrong-kind` where a kind is wanted. */
  require(name: string, kind?: Kind): number;
  /** Which of the columns of its kind a column is, counted from 0, by its name or its place: see `Rows.all`. */
  among(which: string | number): number;
  /** This schema with more columns at its end. */
  with(...fields: { name: string; kind: Kind; nullable?: boolean }[]): Schema;
}

/** A value of a column; null where there is none. */
export type Value = number | bigint | boolean | string | Uint8Array | null;

/** Where the values of a column lie. */
export type Data = Float64Array | Float32Array | BigInt64Array | Uint32Array | Uint8Array;

/** One column of some rows. */
export class Column {
  private constructor();
  readonly name: string;
  readonly kind: Kind;
  readonly nullable: boolean;
  readonly length: number;
  /**
   * The values where the block has them, to be read fast and changed in place: a Float64Array, Float32Array or
   * BigInt64Array; bits for booleans; offsets into `bytes` for text and bytes.
   */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly data: any;
  /** What the offsets of a column of text or bytes point into. */
  readonly bytes: Uint8Array;
  /** One bit a row, least significant first, 1 for a value; undefined where no row is null. */
  readonly validity: Uint8Array | undefined;
  readonly hasNulls: boolean;
  isNull(row: number): boolean;
  /** This column, if it is of that kind; else throws `wrong-kind`. */
  expect(kind: Kind): this;
  /** All values: numbers, BigInt for int64 and timestamp-us, booleans, texts, Uint8Array. */
  values(): Value[];
  /** One value, or null. */
  get(row: number): Value;
  /** The values of a column of numbers as numbers, null where there is none. */
  numbers(): (number | null)[];
}

/** What a column of new rows is made of. */
export type ColumnSource =
  readonly Value[] | readonly (number | null)[] | Float64Array | Float32Array | BigInt64Array | Column;

/** Rows of a table: some columns of equal length. */
export class Rows {
  private constructor();
  readonly schema: Schema;
  readonly length: number;
  /** Rows out of columns, given by name or in order; throws `bad-output` where they do not fit the schema. */
  static of(schema: Schema, columns: Record<string, ColumnSource> | ColumnSource[], length?: number): Rows;
  /** Whether some value may be null, of whichever column. */
  readonly hasNulls: boolean;
  /** A column by its name or its place. */
  column(which: string | number): Column;
  /** The `data` of a column, without the rest of it: the fast way where a call has few rows. */
  data(which: string | number): Column["data"];
  /**
   * The `data` of all columns of a kind, one column after another: the fastest way where a call has few rows of many
   * columns. Those of a column begin at `schema.among(column) * length`.
   */
  all(kind: "float64"): Float64Array;
  all(kind: "float32"): Float32Array;
  columns(): Column[];
  /** Each row as an object, for looking at and for tests: slow. */
  toObjects(): Record<string, Value>[];
}

/** Why a call could not be done. */
export class Problem extends Error {
  constructor(
    code: string,
    message: string,
    where?: { row?: number | bigint | null; column?: string | null; retryable?: boolean; cause?: unknown },
  );
  readonly code: string;
  readonly row: number | null;
  readonly column: string | null;
  readonly retryable: boolean;
}

/** A JSON Schema; in the short form of options, `required: true` says that one must be given. */
export interface JsonSchema {
  type?: string | string[];
  enum?: readonly unknown[];
  default?: unknown;
  description?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  minLength?: number;
  minItems?: number;
  maxItems?: number;
  items?: JsonSchema;
  properties?: Record<string, JsonSchema>;
  required?: boolean | readonly string[];
  additionalProperties?: boolean;
}

/** What every item has. `O` is the type of its options, which the SDK has checked and filled with defaults. */
export interface Item {
  /** Kebab-case, unique within the plugin. */
  name: string;
  /** One line for a list. */
  summary: string;
  /** Properties by name, or a whole JSON Schema of an object. */
  options?: Record<string, JsonSchema> | JsonSchema;
}

/** What `endPass` returns where the algorithm needs the same data once more. */
export const ANOTHER_PASS: unique symbol;

/** A fit in progress. The host may run one for each partition and merge them. */
export interface Fitting {
  /** Takes the next rows of this pass. */
  update(rows: Rows): void;
  /** What was learned in this pass; without it and `merge` there can be one partition only. */
  partial?(): Uint8Array;
  /** Takes in what another fit learned. The result must not depend on how rows were spread over fits. */
  merge?(partial: Uint8Array): void;
  /** Ends the pass: the fitted state, or ANOTHER_PASS. */
  endPass(): Uint8Array | typeof ANOTHER_PASS;
}

/** A fitted transform. */
export interface Fitted {
  /** The schema of what `apply` returns; without it that of the input. */
  output?(): Schema;
  /** Transforms rows; one row out for each row in, in order. Pure: same state, same rows, same bytes. */
  apply(rows: Rows): Rows;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Options = any;

/** A transform that learns nothing. */
export interface PlainTransform<O = Options> extends Item {
  output?(input: Schema, options: O): Schema;
  apply(rows: Rows, options: O): Rows;
}

/** A transform that is fitted. */
export interface FittedTransform<O = Options> extends Item {
  Fitting: new (input: Schema, options: O) => Fitting;
  Fitted: new (state: Uint8Array, input: Schema) => Fitted;
}

/** Offers a transform. */
export function transform<T extends PlainTransform | FittedTransform>(item: T): T;

/** A part of a source that can be read on its own. */
export interface Partition {
  /** Opaque to the host; given back to `Reader`, possibly on another machine. */
  token: Uint8Array;
  /** Number of rows, if known. */
  rows?: number | null;
  /** Number of bytes of the source, if known. */
  bytes?: number | null;
}

/** One partition being read. */
export interface Reader {
  /** At most `most` rows; null at the end. */
  next(most: number): Rows | null;
  /** Called at the end: give back what is open. */
  close?(): void;
}

/** A loader. */
export interface Loader<O = Options> extends Item {
  plan(source: string, options: O): { schema: Schema; partitions: Iterable<Partition> };
  Reader: new (source: string, options: O, schema: Schema, token: Uint8Array) => Reader;
}

/** Offers a loader. */
export function loader<T extends Loader>(item: T): T;

/** One measurement. */
export interface Metric {
  readonly name: string;
  /** May be NaN. */
  readonly value: number;
  /** The slice it was measured on; null for the whole. */
  readonly slice: string | null;
  /** Number of rows behind it. */
  readonly n: number | null;
}

/** Something measured: a model version on a data set, or a data set alone. */
export interface Subject {
  readonly reference: string;
  readonly metrics: readonly Metric[];
  readonly tags: readonly (readonly [string, string])[];
  /** A metric of the whole, or of a slice. */
  metric(name: string, slice?: string | null): Metric | undefined;
  tag(name: string): string | undefined;
}

/** What there is to judge by. */
export interface Evidence {
  readonly candidate: Subject;
  /** The one in place; null the first time. */
  readonly baseline: Subject | null;
}

/** One check and what it saw. */
export interface Check {
  name: string;
  outcome: "pass" | "warn" | "fail";
  observed?: unknown;
  expected?: unknown;
  reason?: string;
}

/** A gate. */
export interface Gate<O = Options> extends Item {
  evaluate(evidence: Evidence, options: O): Check[];
}

/** Offers a gate. */
export function gate<T extends Gate>(item: T): T;

/** What a drift test concluded. */
export interface Outcome {
  statistic: number;
  pValue?: number | null;
  effectSize?: number | null;
  threshold: number;
  verdict: "no-drift" | "drift" | "inconclusive";
  nReference: number;
  nCurrent: number;
  note?: string | null;
}

/** A drift test. */
export interface DriftTest<O = Options> extends Item {
  /** Column types it can compare. */
  kinds: readonly Kind[];
  /** Whether it takes several columns at once; else it gets exactly one. */
  multivariate?: boolean;
  /** What its effect size measures, such as `largest gap between the distributions, 0 to 1`. */
  effect?: string;
  test(reference: Rows, current: Rows, options: O): Outcome;
}

/** Offers a drift test. */
export function driftTest<T extends DriftTest>(item: T): T;

/** A model that is loaded. The host may hold several of the same. */
export interface Predictor {
  /** The schema of what `predict` returns, such as one column `prediction`; asked once, when the model is loaded. */
  output(): Schema;
  /** Predicts; one row out for each row in, in order. Pure: same artifact, same rows, same bytes. */
  predict(rows: Rows): Rows;
}

/** A model. */
export interface Model<O = Options> extends Item {
  /**
   * `artifact` is what was registered with the model version, and empty where the plugin is all there is; `input` has
   * the columns of the rows to come.
   */
  Predictor: new (artifact: Uint8Array, input: Schema, options: O) => Predictor;
}

/** Offers a model. */
export function model<T extends Model>(item: T): T;

/**
 * An object of JSON, such as the artifact of a model, by the fields that it may have, in the form in which items state
 * their options. As strict as options are, and more: a null is taken only where `type` names "null", and no name may be
 * given twice. Throws an Error that names the field: make a Problem of it, with a code of your own.
 */
export function parseJson(bytes: Uint8Array, fields: Record<string, JsonSchema> | JsonSchema): Options;

/** Bytes of a plain value, NaN and BigInt included. */
export function pack(value: unknown): Uint8Array;
/** The value of packed bytes; throws `bad-state`. */
export function unpack(bytes: Uint8Array): Options;

/** Whether bytes are UTF-8. */
export function isUtf8(bytes: Uint8Array): boolean;
/** Text of UTF-8 bytes; what is no UTF-8 becomes U+FFFD. */
export function decodeUtf8(bytes: Uint8Array): string;
/** UTF-8 of a text. */
export function encodeUtf8(text: string): Uint8Array;
/** The number that a decimal text means, correctly rounded also where QuickJS does not. */
export function toNumber(text: string): number;

/** Messages for the operator. */
export const log: Readonly<Record<"trace" | "debug" | "info" | "warn" | "error", (...words: unknown[]) => void>>;

/** The plugin's own settings, given by the operator. */
export const config: Readonly<{ get(key: string): string | null; all(): Record<string, string> }>;

/** An open source. */
export interface SourceObject {
  readonly size: number;
  /** Reads `length` bytes from `offset`; fewer only at the end. */
  read(offset: number, length: number): Uint8Array;
  readAll(): Uint8Array;
  close(): void;
}

/** Bytes of sources: the capability `objects`. */
export const objects: Readonly<{ open(uri: string): SourceObject; list(prefix: string): string[] }>;

/** An open table, read once from its start. */
export interface Table extends Iterable<Rows> {
  readonly schema: Schema;
  next(most?: number): Rows | null;
  close(): void;
}

/** Tables lent for one call: the capability `tables`. */
export const tables: Readonly<{ open(name: string): Table }>;

/** A small store of the plugin's own: the capability `kv`. */
export const kv: Readonly<{
  get(key: string): Uint8Array | null;
  getText(key: string): string | null;
  set(key: string, value: Uint8Array | string): void;
  swap(key: string, expected: Uint8Array | string | null, value: Uint8Array | string): boolean;
  delete(key: string): void;
  keys(page?: { prefix?: string; after?: string | null; max?: number }): string[];
}>;

/** The answer to a request. */
export interface Response {
  readonly status: number;
  readonly ok: boolean;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Uint8Array;
  header(name: string): string | null;
  text(): string;
  json(): Options;
}

/** Requests to hosts that the operator named: the capability `http`. */
export const http: Readonly<{
  get(url: string, headers?: Record<string, string> | [string, string][]): Response;
  send(request: {
    method?: string;
    url: string;
    headers?: Record<string, string> | [string, string][];
    body?: Uint8Array | string;
  }): Response;
}>;

/** Time: the capability `clock`. */
export const clock: Readonly<{ nowUs(): number; monotonicNs(): number }>;

/** Random numbers: the capability `random`. */
export const random: Readonly<{ bytes(length: number): Uint8Array; u64(): bigint; float(): number }>;

/** Secrets that the operator named: the capability `secrets`. */
export const secrets: Readonly<{ get(name: string): string }>;

/** Type of a tensor's values. */
export type TensorType = "fp16" | "fp32" | "fp64" | "bf16" | "uint8" | "int8" | "int32" | "int64" | "boolean" | "utf8";

/** What a graph takes or gives; -1 for a dimension that may vary. */
export interface TensorInfo {
  name: string;
  type: TensorType;
  dimensions: number[];
}

/** Values with a name and a shape, row-major, in a typed array of their type. */
export interface Tensor extends TensorInfo {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  data: any;
}

/** A loaded model. */
export interface Graph {
  inputs(): TensorInfo[];
  outputs(): TensorInfo[];
  compute(inputs: Tensor[]): Tensor[];
  close(): void;
}

/** Models that the operator named: the capability `nn`. */
export const nn: Readonly<{ load(name: string): Graph }>;
