//! What a catalog promises, whatever database it is kept in: every test runs on SQLite and on PostgreSQL.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Barrier, mpsc},
    thread,
};

use plinth_core::{Coded, codes};
use plinth_store::{
    AuditEntry, Cell, Dialect, Row, Store, StoreError, Tx, Value, append_audit, doctor_with, verify_audit,
};

use crate::place::Place;

macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod sqlite { $(#[test] fn $name() { super::$name(&crate::place::Place::sqlite()); })* }
        mod postgres { $(#[test] fn $name() { super::$name(&crate::place::Place::postgres()); })* }
    };
}

conformance! {
    values_come_back_as_they_went,
    placeholders_go_by_number,
    a_null_is_a_null_wherever_it_stands,
    numbers_that_are_computed_are_numbers,
    rows_that_go_by_are_those_of_a_query_and_end_where_the_visitor_ends_them,
    text_is_ordered_by_its_bytes,
    like_tells_cases_apart,
    keys_are_given_and_conflicts_resolved,
    a_statement_runs_for_many_sets_of_parameters_in_their_order,
    what_belongs_together_goes_together,
    writers_that_come_together_are_durable_and_a_failed_one_leaves_the_others_whole,
    processes_take_turns_and_lose_no_update,
    a_failed_closure_changes_nothing,
    a_panicking_closure_is_undone_and_the_next_writer_goes_on,
    a_reader_sees_one_state,
    a_reader_that_writes_is_refused,
    readers_do_not_wait_for_a_writer,
    the_change_counter_sees_own_and_foreign_writes,
    a_crowd_may_open_a_catalog_that_is_not_there_yet,
    the_audit_log_is_one_chain_of_all_writers,
    large_values_and_many_parameters_pass,
    a_thread_that_drives_tasks_may_use_it,
}

const INSERT: &str = "INSERT INTO outbox (time_us, kind, payload) VALUES ($1, 'x', '{}')";

fn read(store: &Store, sql: &str, parameters: &[Value]) -> Vec<Row> {
    store.catalog().read::<_, StoreError>(|tx| tx.query(sql, parameters)).unwrap()
}

fn write(store: &Store, sql: &str, parameters: &[Value]) -> u64 {
    store.catalog().write::<_, StoreError>(|tx| tx.execute(sql, parameters)).unwrap()
}

fn count(store: &Store) -> i64 {
    read(store, "SELECT COUNT(*) FROM outbox", &[])[0].int(0).unwrap()
}

fn values_come_back_as_they_went(place: &Place) {
    let store = place.open();
    write(&store, "CREATE TABLE t (n BIGINT, r DOUBLE PRECISION, x TEXT)", &[]);
    let rows = [
        (Value::Int(i64::MAX), Value::Real(f64::INFINITY), Value::from("läuft \u{1f600} \u{1} '\"\\ $1")),
        (Value::Int(i64::MIN), Value::Real(f64::NEG_INFINITY), Value::from("")),
        (Value::Int(0), Value::Real(5e-324), Value::from("\n\t%_\u{7f}")),
        (Value::Null, Value::Null, Value::Null),
        (Value::Int(-1), Value::Real(0.1 + 0.2), Value::from("x".repeat(100_000))),
    ];
    for (n, r, x) in rows {
        write(&store, "DELETE FROM t", &[]);
        let row = [n, r, x];
        assert_eq!(write(&store, "INSERT INTO t (n, r, x) VALUES ($1, $2, $3)", &row), 1);
        assert_eq!(read(&store, "SELECT n, r, x FROM t", &[]), [Row(row.to_vec())]);
        if row[0] != Value::Null {
            let same = "SELECT n FROM t WHERE n = $1 AND r = $2 AND x = $3";
            assert_eq!(read(&store, same, &row).len(), 1, "{row:?}");
        }
    }
    // A NaN has no place: it is none.
    write(&store, "INSERT INTO t (n, r) VALUES (7, $1)", &[Value::Real(f64::NAN)]);
    assert_eq!(read(&store, "SELECT r FROM t WHERE n = 7", &[]), [Row(vec![Value::Null])]);
}

fn placeholders_go_by_number(place: &Place) {
    let store = place.open();
    let rows = read(&store, "SELECT $2, $1, $2, '$1'", &[Value::Int(1), Value::from("two")]);
    assert_eq!(rows, [Row(vec!["two".into(), Value::Int(1), "two".into(), "$1".into()])]);
}

fn a_null_is_a_null_wherever_it_stands(place: &Place) {
    let store = place.open();
    for name in ["a", "b"] {
        let insert = "INSERT INTO experiments (experiment_id, name, created_us, updated_us) VALUES ($1, $1, 1, 1)";
        write(&store, insert, &[name.into()]);
    }
    let sql = "SELECT name FROM experiments WHERE created_us > 0 AND ($1 IS NULL OR name = $1) ORDER BY name";
    assert_eq!(read(&store, sql, &[Value::Null]).len(), 2);
    assert_eq!(read(&store, sql, &["b".into()]), [Row(vec!["b".into()])]);
    assert_eq!(read(&store, sql, &[Value::Null]).len(), 2);
    let sql = "SELECT COUNT(*) FROM experiments WHERE $1 IS NOT NULL AND created_us < $1";
    assert_eq!(read(&store, sql, &[Value::Null])[0].int(0).unwrap(), 0);
    assert_eq!(read(&store, sql, &[Value::Int(2)])[0].int(0).unwrap(), 3);
    write(&store, "UPDATE outbox SET delivered_us = $1", &[Value::Null]);
    write(
        &store,
        "INSERT INTO outbox (time_us, kind, payload, delivered_us) VALUES (1, 'k', '{}', $1)",
        &[Value::Null],
    );
    assert_eq!(read(&store, "SELECT delivered_us FROM outbox", &[]), [Row(vec![Value::Null])]);
}

fn numbers_that_are_computed_are_numbers(place: &Place) {
    let store = place.open();
    for n in [3_i64, 1 << 40, 5] {
        write(&store, INSERT, &[n.into()]);
    }
    let sql = "SELECT COUNT(*), SUM(time_us), MAX(time_us), MIN(time_us) + 1, COALESCE(SUM(delivered_us), 0),
               CASE WHEN COUNT(*) > 2 THEN 1 ELSE 0 END FROM outbox";
    let expected = [3, (1 << 40) + 8, 1 << 40, 4, 0, 1].map(Value::Int);
    assert_eq!(read(&store, sql, &[]), [Row(expected.to_vec())]);
    let rows = read(
        &store,
        "SELECT time_us FROM outbox WHERE time_us > $1 AND time_us < $2",
        &[Value::Real(3.5), Value::Real(5.5)],
    );
    assert_eq!(rows, [Row(vec![Value::Int(5)])], "a whole number is compared with one that is not");
    let rows =
        read(&store, "SELECT time_us FROM outbox ORDER BY time_us LIMIT $1 OFFSET $2", &[1_u64.into(), 1_u64.into()]);
    assert_eq!(rows, [Row(vec![Value::Int(5)])]);
}

fn rows_that_go_by_are_those_of_a_query_and_end_where_the_visitor_ends_them(place: &Place) {
    let store = place.open();
    for n in 0..500 {
        write(&store, INSERT, &[Value::Int(n)]);
    }
    let sql = "SELECT time_us, 0.5, kind, delivered_us FROM outbox WHERE time_us >= $1 ORDER BY time_us";
    let mut seen = Vec::new();
    let outcome = store.catalog().read::<_, StoreError>(|tx| {
        tx.each(sql, &[Value::Int(1)], &mut |row| {
            seen.push((row.int_at(0)?, row.real_at(1)?, row.text_at(2)?.to_owned(), row.cell(3)? == Cell::Null));
            Ok(())
        })?;
        let stopped = tx.each(sql, &[Value::Int(1)], &mut |row| row.int_at(2).map(drop));
        assert!(matches!(stopped, Err(StoreError::Row { column: 2, .. })), "{stopped:?}");
        // The rest was not wanted; the next query is answered all the same.
        tx.query("SELECT COUNT(*) FROM outbox", &[])
    });
    assert_eq!(outcome.unwrap(), [Row(vec![Value::Int(500)])]);
    let expected: Vec<_> = (1..500).map(|n| (n, 0.5, "x".to_owned(), true)).collect();
    assert_eq!(seen, expected);
}

fn text_is_ordered_by_its_bytes(place: &Place) {
    let store = place.open();
    for key in ["b", "A", "a", "B", "ä", "_", "a b", "a-b", "1"] {
        write(&store, "INSERT INTO facts (name, value) VALUES ($1, '')", &[key.into()]);
    }
    let rows = read(&store, "SELECT name FROM facts ORDER BY name", &[]);
    let found: Vec<String> = rows.iter().map(|row| row.text(0).unwrap()).collect();
    assert_eq!(found, ["1", "A", "B", "_", "a", "a b", "a-b", "b", "ä"]);
    let rows = read(&store, "SELECT name FROM facts WHERE name >= $1 AND name < $2", &["a".into(), "b".into()]);
    assert_eq!(rows.len(), 3);
}

fn like_tells_cases_apart(place: &Place) {
    let store = place.open();
    for key in ["Foo", "foo", "f%o", "f\\o", "FÖO"] {
        write(&store, "INSERT INTO facts (name, value) VALUES ($1, '')", &[key.into()]);
    }
    let dialect = store.catalog().read::<_, StoreError>(|tx| Ok(tx.dialect())).unwrap();
    let like = |pattern: &str| {
        let escape = if dialect == Dialect::Postgres { " ESCAPE ''" } else { "" };
        read(&store, &format!("SELECT name FROM facts WHERE name LIKE $1{escape}"), &[pattern.into()]).len()
    };
    assert_eq!((like("fo%"), like("F%"), like("f_o"), like("f\\%"), like("%")), (1, 2, 3, 1, 5));
    let lower = "SELECT name FROM facts WHERE LOWER(name) LIKE LOWER($1) ORDER BY name";
    assert_eq!(read(&store, lower, &["FOO".into()]).len(), 2);
}

fn keys_are_given_and_conflicts_resolved(place: &Place) {
    let store = place.open();
    let insert =
        "INSERT INTO runs (run_id, experiment_id, name, status, source, user_name) VALUES ($1, '0', '', '', '', '')
                  RETURNING rid";
    let run = |id: &str| {
        store.catalog().write::<_, StoreError>(|tx| {
            tx.all_runs_changed();
            tx.query(insert, &[id.into()])
        })
    };
    let (one, two) = (run("a").unwrap()[0].int(0).unwrap(), run("b").unwrap()[0].int(0).unwrap());
    assert!(two > one);
    assert!(run("a").is_err(), "run_id is unique");
    let write = |sql: &str, parameters: &[Value]| {
        let work = |tx: &mut dyn Tx| {
            tx.all_runs_changed();
            tx.execute(sql, parameters)
        };
        store.catalog().write::<_, StoreError>(work).unwrap()
    };
    let upsert = "INSERT INTO params (rid, key, value) VALUES ($1, 'k', $2)
                  ON CONFLICT (rid, key) DO UPDATE SET value = excluded.value";
    for value in ["x", "y"] {
        assert_eq!(write(upsert, &[one.into(), value.into()]), 1);
    }
    let ignore = "INSERT INTO params (rid, key, value) VALUES ($1, 'k', 'z') ON CONFLICT DO NOTHING";
    assert_eq!(write(ignore, &[one.into()]), 0);
    assert_eq!(read(&store, "SELECT value FROM params", &[]), [Row(vec!["y".into()])]);
}

fn a_statement_runs_for_many_sets_of_parameters_in_their_order(place: &Place) {
    let store = place.open();
    let sql = "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value
               WHERE facts.value < excluded.value";
    let set = |n: usize| vec![Value::from((n % 600).to_string()), Value::from(format!("{:04}", 9_999 - n / 600 * 600))];
    let changed = store.catalog().write::<_, StoreError>(|tx| tx.execute_all(sql, &mut (0..1_200).map(set))).unwrap();
    assert_eq!(changed, [[1; 600], [0; 600]].concat());
    let failed = store.catalog().write::<_, StoreError>(|tx| {
        let sql = "INSERT INTO facts (name, value) VALUES ($1, '')";
        tx.execute_all(sql, &mut ["a", "b", "7", "c"].into_iter().map(|name| vec![name.into()]))
    });
    assert!(failed.is_err());
    assert_eq!(read(&store, "SELECT COUNT(*) FROM facts", &[])[0].int(0).unwrap(), 600);
}

fn what_belongs_together_goes_together(place: &Place) {
    let store = place.open();
    write(&store, "INSERT INTO models (name, created_us, updated_us) VALUES ('m', 1, 1)", &[]);
    let orphan = "INSERT INTO model_tags (model, key, value) VALUES ('other', 'k', 'v')";
    assert!(store.catalog().write::<_, StoreError>(|tx| tx.execute(orphan, &[])).is_err());
    write(
        &store,
        "INSERT INTO versions (model, version, spec, created_us, updated_us) VALUES ('m', 1, '{}', 1, 1)",
        &[],
    );
    write(&store, "INSERT INTO version_tags (model, version, key, value) VALUES ('m', 1, 'k', 'v')", &[]);
    write(&store, "UPDATE models SET name = 'n'", &[]);
    assert_eq!(read(&store, "SELECT model FROM version_tags", &[]), [Row(vec!["n".into()])]);
    write(&store, "DELETE FROM models", &[]);
    assert!(read(&store, "SELECT model FROM version_tags", &[]).is_empty());
}

fn writers_that_come_together_are_durable_and_a_failed_one_leaves_the_others_whole(place: &Place) {
    let store = place.open();
    thread::scope(|scope| {
        for thread in 0..8_i64 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..25 {
                    let outcome = store.catalog().write::<_, StoreError>(|tx| {
                        tx.execute(INSERT, &[Value::Int(thread * 100 + n)])?;
                        if n % 5 == 0 { tx.execute("no such statement", &[]).map(|_| ()) } else { Ok(()) }
                    });
                    assert_eq!(outcome.is_err(), n % 5 == 0);
                }
            });
        }
    });
    // Another process sees only what was committed.
    assert_eq!(count(&place.open()), 8 * 20);
}

fn processes_take_turns_and_lose_no_update(place: &Place) {
    write(&place.open(), "INSERT INTO facts (name, value) VALUES ('n', '0')", &[]);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let store = place.open();
                thread::scope(|scope| {
                    for _ in 0..2 {
                        scope.spawn(|| {
                            for _ in 0..20 {
                                let done = store.catalog().write::<_, StoreError>(|tx| {
                                    let row = tx.query_one("SELECT value FROM facts WHERE name = 'n'", &[])?;
                                    let n: i64 = row.expect("it is there").text(0)?.parse().expect("a number");
                                    let next = (n + 1).to_string();
                                    tx.execute("UPDATE facts SET value = $1 WHERE name = 'n'", &[next.into()])
                                });
                                assert_eq!(done.unwrap(), 1);
                            }
                        });
                    }
                });
            });
        }
    });
    assert_eq!(read(&place.open(), "SELECT value FROM facts WHERE name = 'n'", &[])[0].text(0).unwrap(), "120");
}

fn a_failed_closure_changes_nothing(place: &Place) {
    let store = place.open();
    for statement in ["no such statement", "INSERT INTO nowhere VALUES (1)", "SELECT 1/0 FROM outbox WHERE nothing"] {
        let failed = store.catalog().write::<(), StoreError>(|tx| {
            tx.execute(INSERT, &[Value::Int(1)])?;
            tx.query(statement, &[]).map(drop)
        });
        assert_eq!(failed.unwrap_err().code(), codes::CATALOG, "{statement}");
    }
    // One that refuses by itself, too.
    let refused = store.catalog().write::<(), StoreError>(|tx| {
        tx.execute(INSERT, &[Value::Int(1)])?;
        Err(StoreError::Row { column: 0, expected: "x", found: "y".into() })
    });
    assert!(refused.is_err());
    assert_eq!(count(&store), 0);
    write(&store, INSERT, &[Value::Int(1)]);
    assert_eq!(count(&store), 1);
}

fn a_panicking_closure_is_undone_and_the_next_writer_goes_on(place: &Place) {
    let store = place.open();
    for kind in ["write", "read"] {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let work = |tx: &mut dyn Tx| -> Result<(), StoreError> {
                if kind == "write" {
                    tx.execute(INSERT, &[Value::Int(1)])?;
                }
                panic!("a defect")
            };
            if kind == "write" { store.catalog().write(work) } else { store.catalog().read(work) }
        }));
        assert!(panicked.is_err());
    }
    write(&store, INSERT, &[Value::Int(1)]);
    assert_eq!(count(&store), 1);
}

fn a_reader_sees_one_state(place: &Place) {
    let (store, other) = (place.open(), place.open());
    write(&store, INSERT, &[Value::Int(1)]);
    let seen = store.catalog().read::<_, StoreError>(|tx| {
        let before = tx.query("SELECT id FROM outbox", &[])?.len();
        write(&other, INSERT, &[Value::Int(2)]);
        Ok((before, tx.query("SELECT id FROM outbox", &[])?.len()))
    });
    assert_eq!(seen.unwrap(), (1, 1));
    assert_eq!(count(&store), 2);
}

fn a_reader_that_writes_is_refused(place: &Place) {
    let store = place.open();
    let error = store.catalog().read::<_, StoreError>(|tx| tx.execute(INSERT, &[Value::Int(1)])).unwrap_err();
    let name = store.catalog().name();
    assert!(error.to_string().contains(name.to_str().unwrap()), "{error}");
    assert_eq!(count(&store), 0);
}

fn readers_do_not_wait_for_a_writer(place: &Place) {
    let store = place.open();
    let (begun, wait_begun) = mpsc::channel();
    let (go_on, wait_go_on) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let store = &store;
        let writer = scope.spawn(move || {
            store.catalog().write::<_, StoreError>(|tx| {
                tx.execute(INSERT, &[Value::Int(1)])?;
                begun.send(()).expect("it is waited for");
                wait_go_on.recv().expect("it is told");
                Ok(())
            })
        });
        wait_begun.recv().unwrap();
        assert_eq!(count(store), 0, "what is not committed is not seen");
        go_on.send(()).unwrap();
        writer.join().unwrap().unwrap();
    });
    assert_eq!(count(&store), 1);
}

fn the_change_counter_sees_own_and_foreign_writes(place: &Place) {
    let (mine, other) = (place.open(), place.open());
    let counter = || mine.catalog().change_counter().unwrap();
    let start = counter();
    read(&mine, "SELECT 1", &[]);
    assert_eq!(counter(), start);
    write(&other, INSERT, &[Value::Int(1)]);
    let after_other = counter();
    assert_ne!(after_other, start);
    write(&mine, INSERT, &[Value::Int(1)]);
    assert_ne!(counter(), after_other);
}

fn a_crowd_may_open_a_catalog_that_is_not_there_yet(place: &Place) {
    const CROWD: usize = 6;
    let barrier = Barrier::new(CROWD);
    thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(|| {
                barrier.wait();
                write(&place.open(), INSERT, &[Value::Int(1)]);
            });
        }
    });
    assert_eq!(count(&place.open()), CROWD as i64);
    assert_eq!(doctor_with(place.dir(), place.catalog(), false).unwrap(), []);
}

fn the_audit_log_is_one_chain_of_all_writers(place: &Place) {
    let entry = |n: i64| AuditEntry {
        time: n,
        principal: "ann".into(),
        action: "alias.set".into(),
        subject: "models:/churn@champion".into(),
        detail: "{}".into(),
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let store = place.open();
                for n in 0..10 {
                    store.catalog().write::<_, StoreError>(|tx| append_audit(tx, &entry(n))).unwrap();
                }
            });
        }
    });
    let store = place.open();
    assert_eq!(store.catalog().read(verify_audit).unwrap(), 30);
    write(&store, "UPDATE audit SET principal = 'eve' WHERE seq = 20", &[]);
    assert!(matches!(store.catalog().read(verify_audit), Err(StoreError::Audit { seq: 20, .. })));
}

fn large_values_and_many_parameters_pass(place: &Place) {
    let store = place.open();
    let payload = "y".repeat(3 << 20);
    let insert = "INSERT INTO outbox (time_us, kind, payload) VALUES (1, 'big', $1)";
    write(&store, insert, &[payload.as_str().into()]);
    assert_eq!(read(&store, "SELECT payload FROM outbox", &[])[0].text(0).unwrap(), payload);
    let list: Vec<String> = (1..=1_000).map(|n| format!("${n}")).collect();
    let sql = format!("SELECT COUNT(*) FROM outbox WHERE kind IN ({})", list.join(", "));
    let parameters: Vec<Value> =
        (0..1_000).map(|n| if n == 700 { "big".into() } else { n.to_string().into() }).collect();
    assert_eq!(read(&store, &sql, &parameters)[0].int(0).unwrap(), 1);
    // More statements than a connection keeps.
    for n in 0..600 {
        assert_eq!(read(&store, &format!("SELECT {n}"), &[])[0].int(0).unwrap(), n);
    }
}

fn a_thread_that_drives_tasks_may_use_it(place: &Place) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = place.open();
        write(&store, INSERT, &[Value::Int(1)]);
        assert_eq!(count(&store), 1);
    });
}
