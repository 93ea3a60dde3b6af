//! `starlane app` and `starlane resource list`: requests to the resource `starlane:apps`.

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};
use starlane_bundle::AppRecord;
use starlane_protocol::Address;

use crate::{bundle::published, client::Client, output::Output};

/// The server's resource for apps.
const APPS: &str = "starlane:apps";

#[derive(Deserialize)]
struct List {
    apps: Vec<AppRecord>,
}

pub(crate) fn create(client: &Client, app: &Address, bundle: &Address, output: Output) -> Result<()> {
    let record: AppRecord = client.ask(APPS, "create", &json!({ "app": app.as_str(), "bundle": bundle.as_str() }))?;
    let facts = [
        ("bundle", record.bundle.to_string()),
        ("revision", record.revision.to_string()),
        ("publisher", record.publisher.to_string()),
    ];
    let next = format!("open {}", client.url());
    output.done(&format!("{} runs", record.app), &facts, Some(&next), &serde_json::to_value(&record)?);
    Ok(())
}

pub(crate) fn list(client: &Client, output: Output) -> Result<()> {
    let List { apps } = client.ask(APPS, "list", &json!({}))?;
    if apps.is_empty() {
        output.remark("There are no apps yet: `starlane app create APP --bundle ADDRESS` creates one.");
    }
    let rows: Vec<[String; 3]> =
        apps.iter().map(|app| [app.app.to_string(), app.bundle.to_string(), app.revision.to_string()]).collect();
    output.table(["APP", "BUNDLE", "REVISION"], &rows, &json!({ "apps": apps }));
    Ok(())
}

/// Lists the resources of all apps, without mechtrons.
pub(crate) fn resources(client: &Client, output: Output) -> Result<()> {
    let List { apps } = client.ask(APPS, "list", &json!({}))?;
    let mut found = Vec::new();
    for record in &apps {
        let manifest = published(client, &record.bundle)?.map(|(_, manifest)| manifest);
        for (name, resource) in
            manifest.iter().filter_map(|manifest| manifest.app.as_ref()).flat_map(|app| &app.resources)
        {
            let (kind, placement) = (serde_json::to_value(resource.kind)?, serde_json::to_value(resource.placement)?);
            found.push([record.app.child(name)?.to_string(), text(&kind), text(&placement)]);
        }
    }
    if found.is_empty() {
        output.remark("There are no resources yet: `[resources.NAME]` in a bundle's app.toml adds one to its app.");
    }
    let json: Vec<Value> = found
        .iter()
        .map(|[address, kind, placement]| json!({ "address": address, "kind": kind, "placement": placement }))
        .collect();
    output.table(["RESOURCE", "KIND", "PLACEMENT"], &found, &json!({ "resources": json }));
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn delete(client: &Client, app: &Address, data: bool, output: Output) -> Result<()> {
    // Servers of earlier versions do not know `data`.
    let body = if data { json!({ "app": app.as_str(), "data": true }) } else { json!({ "app": app.as_str() }) };
    let _: Value = client.ask(APPS, "delete", &body)?;
    let what = if data { "stopped and deleted, with its data" } else { "stopped and deleted" };
    output.done(&format!("{app} was {what}"), &[], None, &json!({ "deleted": app.as_str(), "data": data }));
    Ok(())
}

pub(crate) fn restart(client: &Client, address: &Address, output: Output) -> Result<()> {
    let answer: Value = client.ask(APPS, "restart", &json!({ "address": address.as_str() }))?;
    let count = answer.get("restarted").map(ToString::to_string).unwrap_or_default();
    output.done(&format!("{address} was restarted"), &[("mechtrons", count)], None, &answer);
    Ok(())
}
