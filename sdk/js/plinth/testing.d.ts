/** Types of what tests use. */
import type {
  Check,
  ColumnSource,
  DriftTest,
  FittedTransform,
  Gate,
  Item,
  JsonSchema,
  Kind,
  Loader,
  Model,
  Outcome,
  PlainTransform,
  Rows,
  Schema,
  Tensor,
  TensorInfo,
} from "./index.js";

type Transform = PlainTransform | FittedTransform;
type Options = Record<string, unknown> | string;
type Measured = {
  reference?: string;
  metrics?: Record<string, number> | { name: string; value: number; slice?: string | null; n?: number | null }[];
  tags?: Record<string, string> | [string, string][];
};

/** Rows of columns by name; kinds follow from the values where they are not said. */
export function rows(columns: Record<string, ColumnSource>, kinds?: Record<string, Kind> | Schema): Rows;
/** What a component would say of an item. */
export function described(item: Item): { name: string; summary: string; options: JsonSchema };
/** A fit in progress. */
export function start(
  item: Transform,
  schema: Schema,
  options?: Options,
): {
  update(rows: Rows): void;
  partial(): Uint8Array;
  merge(partial: Uint8Array): void;
  endPass(): Uint8Array | undefined;
};
/** Fits a transform: gives its state. An array of rows is one for each partition. */
export function fit(item: Transform, rows: Rows | Rows[], options?: Options): Uint8Array;
/** Applies a fitted transform. */
export function apply(item: Transform, state: Uint8Array, rows: Rows): Rows;
/** Fits a transform on rows and applies it to them. */
export function fitAndApply(item: Transform, rows: Rows, options?: Options): Rows;
/** What a loader sees in a source. */
export function plan(
  item: Loader,
  source: string,
  options?: Options,
): { schema: Schema; partitions: { token: Uint8Array; rows: number | null; bytes: number | null }[] };
/** A partition being read. */
export function open(
  item: Loader,
  source: string,
  options: Options,
  schema: Schema,
  token: Uint8Array,
): { next(most?: number): Rows | null };
/** All that a loader reads. */
export function load(item: Loader, source: string, options?: Options, most?: number): Rows[];
/** The checks of a gate. */
export function evaluate(
  item: Gate,
  evidence: { candidate: Measured; baseline?: Measured | null },
  options?: Options,
): Required<Check>[];
/** The outcome of a drift test. */
export function test(item: DriftTest, reference: Rows, current: Rows, options?: Options): Required<Outcome>;

/** What a model predicts; `artifact` is bytes or a text. */
export function predict(item: Model, artifact: Uint8Array | string, rows: Rows, options?: Options): Rows;

/** What the plugin wrote to the log. */
export const logged: { level: string; message: string }[];

type Answer = { status?: number; headers?: [string, string][]; body?: Uint8Array | string };

/** Lends the plugin under test what the host would. */
export const lend: {
  object(uri: string, content: Uint8Array | string): void;
  table(name: string, rows: Rows | Rows[]): void;
  setting(key: string, value: unknown): void;
  secret(name: string, value: string): void;
  answer(
    url: string,
    response:
      Answer | ((request: { method: string; url: string; headers: [string, string][]; body: Uint8Array }) => Answer),
  ): void;
  model(
    name: string,
    model: { inputs?: TensorInfo[]; outputs?: TensorInfo[]; compute(inputs: Tensor[]): Tensor[] },
  ): void;
  /** Takes back all that was lent, and forgets the log and the store. */
  nothing(): void;
};
