-- What searches over runs walk along: each order has an index that holds everything until the runs of a page are known.

DROP INDEX runs_by_experiment;
CREATE INDEX runs_by_start ON runs (experiment_id, lifecycle, start_us);
CREATE INDEX runs_by_end ON runs (experiment_id, lifecycle, end_us);
CREATE INDEX runs_by_name ON runs (experiment_id, lifecycle, name);
CREATE INDEX runs_by_user ON runs (experiment_id, lifecycle, user_name);
CREATE INDEX runs_by_status ON runs (experiment_id, lifecycle, status);
-- Values that are too long for the indexes by value; nearly none are.
CREATE INDEX params_long ON params (key, rid) WHERE LENGTH(value) > 250;
CREATE INDEX run_tags_long ON run_tags (key, rid) WHERE LENGTH(value) > 250;
