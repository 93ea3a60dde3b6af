//! Databases as resources: the suite that every driver passes.

use std::{cell::RefCell, rc::Rc};

use serde_json::json;
use starlane_host::testing::resource_suite::{self, Subject};
use tokio::task::LocalSet;

use super::*;
use crate::{builtin, contract::Contracts, database::DatabaseDriver, storage::Storage, time::TokioTime};

#[tokio::test]
async fn databases_pass_the_contract_suite() {
    let (folders, contracts) = (RefCell::new(Vec::new()), Contracts::default());
    let fresh = || async {
        let folder = tempfile::tempdir().unwrap();
        let limiter = limiter(|_| ());
        let storage = Storage::new(folder.path(), Arc::clone(&limiter));
        let bound = builtin::of_kind(&contracts, "database").unwrap();
        let driver = DatabaseDriver::new(folder.path(), bound, &limiter, &storage);
        folders.borrow_mut().push(folder);
        Subject {
            driver: Rc::new(driver),
            settings: json!({ "migrations": "/migrations/" }),
            files: vec![("/migrations/1.sql", "CREATE TABLE texts (text TEXT)"), ("/migrations/readme.md", "no SQL")],
            write: ("execute", json!({ "sql": "INSERT INTO texts VALUES (?)", "params": ["TEXT"] })),
            read: ("query", json!({ "sql": "SELECT text FROM texts" })),
        }
    };
    LocalSet::new().run_until(resource_suite::all(Rc::new(TokioTime::new()), fresh)).await;
}
