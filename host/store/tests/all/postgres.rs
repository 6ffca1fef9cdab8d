//! What only a catalog on a server can meet: a server that is away, goes, or does not let one in.

use std::{net::TcpListener, thread};

use plinth_core::{Coded, codes};
use plinth_store::{Access, Store, StoreError, Tx, Value};
use plinth_test_catalog::{Server, sql};

use crate::place::Place;

const INSERT: &str = "INSERT INTO outbox (time_us, kind, payload) VALUES ($1, 'x', '{}')";
const SECRET: &str = "s3cr3t-pa%24%24";

fn insert(store: &Store, n: i64) -> Result<u64, StoreError> {
    store.catalog().write(|tx| tx.execute(INSERT, &[Value::Int(n)]))
}

fn times(store: &Store) -> Result<Vec<i64>, StoreError> {
    let rows = store.catalog().read::<_, StoreError>(|tx| tx.query("SELECT time_us FROM outbox ORDER BY 1", &[]))?;
    rows.iter().map(|row| row.int(0)).collect()
}

/// The refusal, in every form that a user may see; the password is in none of them.
fn refusal(url: &str) -> (plinth_core::Code, String) {
    let dir = tempfile::tempdir().unwrap();
    let error = Store::open_with(dir.path(), Some(url), Access::Shared).unwrap_err();
    let told = format!("{error} / {error:?} / {}", error.hint().unwrap_or_default());
    assert!(!told.contains("s3cr3t"), "{told}");
    (error.code(), told)
}

#[test]
fn a_server_that_is_away_is_named_without_the_password() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (code, told) = refusal(&format!("postgres://ann:{SECRET}@127.0.0.1:{port}/plinth"));
    assert_eq!(code, codes::CATALOG_UNAVAILABLE, "{told}");
    assert!(told.contains(&format!("postgres://127.0.0.1:{port}/plinth")) && told.contains("runs"), "{told}");
}

#[test]
fn a_wrong_password_and_a_wrong_name_are_told_apart() {
    let server = Server::start();
    sql(&server.url(), "CREATE ROLE locked LOGIN PASSWORD 'right'; GRANT CREATE ON SCHEMA public TO locked");
    let at = |who: &str, database: &str| format!("postgres://{who}@127.0.0.1:{}/{database}", server.port());
    let (code, told) = refusal(&at(&format!("locked:{SECRET}"), "postgres"));
    assert_eq!(code, codes::CATALOG_DENIED, "{told}");
    let (code, told) = refusal(&at("locked", "postgres"));
    assert_eq!(code, codes::CATALOG_DENIED, "{told}");
    let (code, told) = refusal(&at("nobody", "postgres"));
    assert_eq!(code, codes::CATALOG_DENIED, "{told}");
    let (code, told) = refusal(&at("locked:right", "elsewhere"));
    assert_eq!(code, codes::CATALOG_UNAVAILABLE, "{told}");
    assert!(told.contains("createdb"), "{told}");
    let place = Place::at(&at("locked:right", "postgres"));
    assert_eq!(insert(&place.open(), 1).unwrap(), 1);
    // A user who may not make tables.
    sql(&server.url(), "CREATE ROLE guest LOGIN; CREATE SCHEMA other");
    let (code, told) = refusal(&format!("{}?options=-csearch_path%3Dother", at("guest", "postgres")));
    assert!(code == codes::CATALOG_DENIED || code == codes::CATALOG, "{told}");
}

#[test]
fn a_url_that_cannot_be_used_is_told() {
    for (url, part) in [
        (format!("postgres://ann:{SECRET}@127.0.0.1/plinth?sslmode=require"), "TLS"),
        (format!("mysql://ann:{SECRET}@127.0.0.1/plinth"), "postgres://"),
        (format!("postgres://ann:{SECRET}@127.0.0.1/plinth?sslmood=disable"), "sslmood"),
        (format!("postgres://ann:{SECRET}@127.0.0.1:port/plinth"), "port"),
        ("postgres://127.0.0.1/plinth".into(), "user"),
        ("postgres://ann@/plinth".into(), "server"),
    ] {
        let (code, told) = refusal(&url);
        assert_eq!(code, codes::BAD_CONFIG, "{told}");
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_catalog_of_a_newer_plinth_is_left_alone() {
    let place = Place::postgres();
    let store = place.open();
    store
        .catalog()
        .write::<_, StoreError>(|tx| {
            tx.execute("INSERT INTO migrations (version, name, checksum, applied_us) VALUES (99, 'later', '', 0)", &[])
        })
        .unwrap();
    drop(store);
    let (code, told) = refusal(place.catalog().unwrap());
    assert_eq!(code, codes::STATE_VERSION, "{told}");
    assert!(told.contains("99"), "{told}");
}

#[test]
fn a_database_that_cannot_hold_any_text_is_refused() {
    let server = Server::start();
    sql(
        &server.url(),
        "CREATE DATABASE old ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER 'libc' TEMPLATE template0",
    );
    let (code, told) = refusal(&format!("postgres://postgres@127.0.0.1:{}/old", server.port()));
    assert_eq!(code, codes::BAD_CONFIG, "{told}");
    assert!(told.contains("LATIN1"), "{told}");
}

#[test]
fn a_server_that_restarts_costs_what_was_under_way_and_nothing_else() {
    let server = Server::start();
    let place = Place::at(&server.url());
    let store = place.open();
    for n in 0..3 {
        insert(&store, n).unwrap();
        assert_eq!(times(&store).unwrap().len() as i64, n + 1);
    }
    // In the middle of a transaction: it is refused, and nothing of it is there.
    let cut_off = store.catalog().write::<(), StoreError>(|tx| {
        tx.execute(INSERT, &[Value::Int(100)])?;
        server.stop();
        tx.execute(INSERT, &[Value::Int(101)]).map(drop)
    });
    assert_eq!(cut_off.unwrap_err().code(), codes::CATALOG_UNAVAILABLE);
    assert_eq!(insert(&store, 102).unwrap_err().code(), codes::CATALOG_UNAVAILABLE);
    assert_eq!(times(&store).unwrap_err().code(), codes::CATALOG_UNAVAILABLE);
    server.start_again();
    assert_eq!(times(&store).unwrap(), [0, 1, 2]);
    insert(&store, 3).unwrap();
    // While every connection is idle: nobody notices.
    server.stop();
    server.start_again();
    insert(&store, 4).unwrap();
    assert_eq!(times(&store).unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn writers_under_a_server_that_crashes_lose_nothing_that_was_acknowledged() {
    let server = Server::start();
    let place = Place::at(&server.url());
    let store = place.open();
    let mut acknowledged = Vec::new();
    for round in 0..3_i64 {
        thread::scope(|scope| {
            let writers: Vec<_> = (0..6_i64)
                .map(|writer| {
                    let store = &store;
                    scope.spawn(move || {
                        let first = (round * 6 + writer) * 1_000_000;
                        // Until the server is gone.
                        (first..).take_while(|n| insert(store, *n).is_ok()).collect::<Vec<_>>()
                    })
                })
                .collect();
            while times(&store).unwrap().len() < (round as usize + 1) * 60 {}
            server.stop();
            acknowledged.extend(writers.into_iter().flat_map(|writer| writer.join().unwrap()));
        });
        server.start_again();
    }
    let found = times(&store).unwrap();
    let lost: Vec<_> = acknowledged.iter().filter(|n| !found.contains(n)).collect();
    assert!(lost.is_empty() && acknowledged.len() > 100, "{} acknowledged, lost {lost:?}", acknowledged.len());
}

#[test]
fn what_postgresql_cannot_keep_is_bad_input_and_harms_nobody_else() {
    let place = Place::postgres();
    let store = place.open();
    let file = |path: &str| {
        let sql = "INSERT INTO files (path, blob, bytes, updated_us) VALUES ($1, 'b', 1, 0)";
        store.catalog().write::<_, StoreError>(|tx| tx.execute(sql, &[path.into()]))
    };
    file("a").unwrap();
    assert_eq!(file("a\0b").unwrap_err().code(), codes::BAD_VALUE);
    // Longer than an index holds, of text that does not shrink.
    let mut random = 1_u64;
    let long: String = std::iter::repeat_with(|| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + (random >> 33) as u8 % 90)
    })
    .take(9_000)
    .collect();
    assert_eq!(file(&long).unwrap_err().code(), codes::BAD_VALUE);
    file(&long[..2_000]).unwrap();
    let pattern = "SELECT path FROM files WHERE path ~ $1";
    let bad = store.catalog().read::<_, StoreError>(|tx| tx.query(pattern, &["(".into()]));
    assert_eq!(bad.unwrap_err().code(), codes::BAD_VALUE);
    assert_eq!(store.catalog().read::<_, StoreError>(|tx| tx.query(pattern, &["^a$".into()])).unwrap().len(), 1);
}

#[test]
fn sessions_are_durable_whatever_the_server_is_set_to_and_queries_end() {
    let place = Place::postgres();
    let url = place.catalog().unwrap();
    let weak = url.replace("postgres@", "weak@");
    sql(url, "CREATE ROLE weak SUPERUSER LOGIN; ALTER ROLE weak SET synchronous_commit = off");
    assert_eq!(sql(&weak, "SHOW synchronous_commit").trim(), "off");
    let store = Place::at(&weak).open();
    let setting = |tx: &mut dyn Tx, name: &str| {
        let row = tx.query_one("SELECT current_setting($1)", &[name.into()])?;
        row.expect("it has one").text(0)
    };
    assert_eq!(store.catalog().write(|tx| setting(tx, "synchronous_commit")).unwrap(), "on");
    assert_eq!(store.catalog().read(|tx| setting(tx, "statement_timeout")).unwrap(), "2min");
}

#[test]
fn a_closure_that_hides_a_refusal_has_failed() {
    let place = Place::postgres();
    let store = place.open();
    let hidden = store.catalog().write::<(), StoreError>(|tx| {
        tx.execute(INSERT, &[Value::Int(1)])?;
        assert!(tx.execute("no such statement", &[]).is_err());
        Ok(())
    });
    assert_eq!(hidden.unwrap_err().code(), codes::CATALOG);
    assert_eq!(times(&store).unwrap(), Vec::<i64>::new());
}
