//! The allowed SQL. SQLite calls the authorizer while it prepares a statement, so no spelling can avoid it.

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::{
    functions,
    watch::{Role, Watch},
};

/// The table in which applied migrations are recorded.
pub(super) const MIGRATIONS: &str = "starlane_migrations";
/// Tables that show more than the database's own rows, or that can run long without a check of the deadline.
const HIDDEN: [&str; 6] = ["dbstat", "sqlite_dbpage", "sqlite_stmt", "fts3tokenize", "bytecode", "tables_used"];
/// The modules of virtual tables that a migration can create: they store everything in the database.
const MODULES: [&str; 3] = ["fts5", "fts5vocab", "rtree"];

/// Decides, and stores the reason for a refusal.
pub(super) fn authorize(watch: &Watch, context: &AuthContext<'_>) -> Authorization {
    match refusal(watch.role(), context) {
        None => Authorization::Allow,
        Some(reason) => {
            watch.refuse(reason);
            Authorization::Deny
        }
    }
}

fn refusal(role: Role, context: &AuthContext<'_>) -> Option<String> {
    if role == Role::Own {
        return None;
    }
    let refuse = |reason: &str| Some(reason.to_owned());
    match context.action {
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => refuse("ATTACH, DETACH and VACUUM are not available"),
        AuthAction::Pragma { pragma_name, pragma_value } => pragma(role, pragma_name, pragma_value),
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } if role == Role::Migrate => refuse(
            "BEGIN, COMMIT, ROLLBACK and SAVEPOINT are not available: all new migrations run in one transaction; \
             remove these statements",
        ),
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => refuse(
            "BEGIN, COMMIT, ROLLBACK and SAVEPOINT are not available: send the statements with the operation `transaction`",
        ),
        AuthAction::Function { function_name } if !functions::allowed(function_name) => {
            Some(format!("the function {function_name} is not available"))
        }
        AuthAction::CreateVtable { module_name, .. } | AuthAction::DropVtable { module_name, .. } => {
            match role == Role::Migrate && MODULES.iter().any(|known| module_name.eq_ignore_ascii_case(known)) {
                true => None,
                false => refuse("virtual tables are not available, except fts5 and rtree in migrations"),
            }
        }
        // ALTER TABLE itself reads it, to check whether the rows match a new column.
        AuthAction::Read { table_name: "pragma_quick_check", .. } if role != Role::Read => None,
        AuthAction::Read { table_name, .. }
            if HIDDEN.iter().any(|hidden| table_name.eq_ignore_ascii_case(hidden))
                || table_name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("pragma_")) =>
        {
            Some(format!("the table {table_name} is not available"))
        }
        AuthAction::Unknown { code, .. } => Some(format!("SQLite's action {code} is not available")),
        action => {
            let Written { table, temporary } = written(&action)?;
            match role {
                Role::Read => refuse("`query` only reads: send a statement that writes with the operation `execute`"),
                _ if table.is_some_and(|table| table.eq_ignore_ascii_case(MIGRATIONS)) => {
                    Some(format!("the table {MIGRATIONS} is reserved for the server"))
                }
                Role::Write if temporary => {
                    refuse("temporary tables, views and triggers are not available: all messages share one connection")
                }
                _ => None,
            }
        }
    }
}

/// `foreign_keys` is already off, as a migration that rebuilds tables requires. FTS5 itself asks for `data_version` and
/// `page_size`, and ALTER TABLE for `quick_check`, which reads only this database and is interrupted at the deadline.
fn pragma(role: Role, name: &str, value: Option<&str>) -> Option<String> {
    let name = name.to_ascii_lowercase();
    match (role, name.as_str(), value) {
        (Role::Migrate | Role::Write, "quick_check", _)
        | (_, "data_version" | "page_size", None)
        | (Role::Migrate, "foreign_keys" | "foreign_key_check", _) => None,
        (Role::Migrate, "journal_mode" | "synchronous" | "auto_vacuum" | "page_size" | "encoding", _) => {
            Some(format!("the server sets `{name}` itself; remove `PRAGMA {name}`"))
        }
        (Role::Migrate, "defer_foreign_keys", _) => Some(
            "foreign keys are off during migrations and checked at the end; remove `PRAGMA defer_foreign_keys`"
                .to_owned(),
        ),
        (Role::Migrate, ..) => Some(format!(
            "`PRAGMA {name}` would have no effect after the migration; remove it (available: `foreign_keys`, \
             `foreign_key_check`)"
        )),
        _ => Some(format!("`PRAGMA {name}` is not available")),
    }
}

/// The table that an action writes to.
struct Written<'a> {
    table: Option<&'a str>,
    temporary: bool,
}

/// None for an action that only reads.
fn written<'a>(action: &AuthAction<'a>) -> Option<Written<'a>> {
    let (table, temporary) = match *action {
        AuthAction::Insert { table_name }
        | AuthAction::Delete { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::CreateTable { table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::AlterTable { table_name, .. }
        | AuthAction::CreateIndex { table_name, .. }
        | AuthAction::DropIndex { table_name, .. }
        | AuthAction::CreateTrigger { table_name, .. }
        | AuthAction::DropTrigger { table_name, .. } => (Some(table_name), false),
        AuthAction::CreateView { view_name } | AuthAction::DropView { view_name } => (Some(view_name), false),
        AuthAction::CreateTempTable { table_name }
        | AuthAction::DropTempTable { table_name }
        | AuthAction::CreateTempIndex { table_name, .. }
        | AuthAction::DropTempIndex { table_name, .. }
        | AuthAction::CreateTempTrigger { table_name, .. }
        | AuthAction::DropTempTrigger { table_name, .. } => (Some(table_name), true),
        AuthAction::CreateTempView { view_name } | AuthAction::DropTempView { view_name } => (Some(view_name), true),
        AuthAction::Reindex { .. } | AuthAction::Analyze { .. } => (None, false),
        _ => return None,
    };
    Some(Written { table, temporary })
}
