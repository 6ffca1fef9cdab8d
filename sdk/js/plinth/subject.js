/** What a gate judges. */

/** Something measured: a model version on a data set, or a data set alone. */
export class Subject {
  constructor({ reference, metrics = [], tags = [] }) {
    /** Its name for a person, such as `models:/churn/3`. */
    this.reference = reference;
    /** What was measured: `{ name, value, slice, n }`; the value may be NaN, slice and n may be null. */
    this.metrics = metrics;
    /** Anything else known about it: pairs of name and value. */
    this.tags = tags;
  }

  /** A metric of the whole, or of a slice; undefined where it was not measured. */
  metric(name, slice = null) {
    return this.metrics.find((metric) => metric.name === name && (metric.slice ?? null) === slice);
  }

  /** The value of a tag; undefined where there is none. */
  tag(name) {
    return this.tags.find(([key]) => key === name)?.[1];
  }
}
