//! `kiln instance`: instances, and their guests' consoles and shells.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use super::image::findings;
use super::screen;
use crate::arguments::{InstanceCommand, OutputForm, Reset, Run};
use crate::client::{Client, Error};
use crate::output;
use crate::pages::{self, PAGE};

const COLUMNS: &[(&str, &str)] = &[
    ("INSTANCE", "/InstanceId"),
    ("NAME", "/InstanceName"),
    ("STATE", "/InstanceState"),
    ("IMAGE", "/ImageId"),
    ("TYPE", "/InstanceType"),
    ("ADDRESS", "/PrivateIpAddresses"),
    ("LATEST", "/LatestOperation"),
    ("RESULT", "/LatestOperationState"),
    ("CREATED", "/CreatedTime"),
];
const POLL: Duration = Duration::from_millis(500);

pub(super) async fn run(
    client: &Client,
    form: OutputForm,
    command: InstanceCommand,
) -> Result<ExitCode, Error> {
    match command {
        InstanceCommand::Run(run) => launch(client, form, run).await?,
        InstanceCommand::List => list(client, form).await?,
        InstanceCommand::Stop { instances, force } => {
            let stop = if force { "HARD" } else { "SOFT_FIRST" };
            let answer =
                client.cvm("StopInstances", &json!({ "InstanceIds": instances, "StopType": stop })).await?;
            begun(form, &answer, "stopping", &instances);
        }
        InstanceCommand::Start { instances } => {
            let answer = client.cvm("StartInstances", &json!({ "InstanceIds": instances })).await?;
            begun(form, &answer, "starting", &instances);
        }
        InstanceCommand::Reboot { instances, force } => {
            let stop = if force { "HARD" } else { "SOFT_FIRST" };
            let answer =
                client.cvm("RebootInstances", &json!({ "InstanceIds": instances, "StopType": stop })).await?;
            begun(form, &answer, "restarting", &instances);
        }
        InstanceCommand::Reset(request) => reset(client, form, request).await?,
        InstanceCommand::Terminate { instances } => {
            let answer = client.cvm("TerminateInstances", &json!({ "InstanceIds": instances })).await?;
            begun(form, &answer, "removing", &instances);
        }
        InstanceCommand::Console { instance, no_follow } => console(client, &instance, no_follow).await?,
        InstanceCommand::Screen { instance, port } => screen::show(client, &instance, port).await?,
        InstanceCommand::Ssh { instance, user, arguments } => {
            return ssh(client, &instance, &user, &arguments).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what has begun; the server goes on with it by itself.
fn begun(form: OutputForm, answer: &Value, verb: &str, instances: &[String]) {
    let sentence = format!("{verb} {}; `kiln instance list` shows how far it is", instances.join(", "));
    output::done(form, answer, &sentence);
}

async fn launch(client: &Client, form: OutputForm, run: Run) -> Result<(), Error> {
    let mut parameters = json!({ "ImageId": run.image, "InstanceCount": run.count });
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            parameters[name] = value;
        }
    };
    set("InstanceName", run.name.map(Value::from));
    set("InstanceType", run.instance_type.map(Value::from));
    let switch = |enabled| json!({ "SecurityService": { "Enabled": enabled } });
    set("EnhancedService", run.security_service.map(switch));
    set("SystemDisk", run.disk.map(|gib| json!({ "DiskSize": gib })));
    let data_disks: Vec<Value> =
        run.data_disks.iter().map(|text| data_disk(text)).collect::<Result<_, _>>()?;
    set("DataDisks", (!data_disks.is_empty()).then(|| data_disks.into()));
    set("LoginSettings", login(&run.key_pairs, run.password_stdin)?);
    if let Some(file) = &run.user_data {
        let data = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        set("UserData", Some(base64::engine::general_purpose::STANDARD.encode(data).into()));
    }
    findings::warn_if_shared(client, &run.image).await;
    let launched = client.cvm("RunInstances", &parameters).await?;
    show_launched(client, form, &launched["InstanceIdSet"], run.no_wait).await
}

/// A data disk of `GIB` or `GIB:SNAPSHOT`.
fn data_disk(text: &str) -> Result<Value, Error> {
    let (gib, snapshot) = text.split_once(':').map_or((text, None), |(gib, id)| (gib, Some(id)));
    let gib: u64 =
        gib.parse().map_err(|_| format!("--data-disk {text}: give GiB, or GiB:SNAPSHOT, such as 20"))?;
    let mut disk = json!({ "DiskSize": gib });
    if let Some(snapshot) = snapshot {
        disk["SnapshotId"] = json!(snapshot);
    }
    Ok(disk)
}

/// Who gets into a guest, if the request says so.
fn login(key_pairs: &[String], password_stdin: bool) -> Result<Option<Value>, Error> {
    let mut login = serde_json::Map::new();
    if !key_pairs.is_empty() {
        login.insert("KeyIds".to_owned(), json!(key_pairs));
    }
    if password_stdin {
        let mut password = String::new();
        std::io::stdin().read_line(&mut password)?;
        login.insert("Password".to_owned(), json!(password.trim_end_matches(['\r', '\n'])));
    }
    Ok((!login.is_empty()).then_some(Value::Object(login)))
}

/// The image of an instance, if that is seen; what is done with the instance says what is wrong with it.
async fn image_of(client: &Client, instance: &str) -> Option<String> {
    let answer = client.cvm("DescribeInstances", &json!({ "InstanceIds": [instance] })).await.ok()?;
    answer["InstanceSet"][0]["ImageId"].as_str().map(str::to_owned)
}

async fn reset(client: &Client, form: OutputForm, request: Reset) -> Result<(), Error> {
    let mut parameters = json!({ "InstanceId": request.instance });
    let fields = [
        ("ImageId", request.image.map(Value::from)),
        ("SystemDisk", request.disk.map(|gib| json!({ "DiskSize": gib }))),
        ("LoginSettings", login(&request.key_pairs, request.password_stdin)?),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            parameters[name] = value;
        }
    }
    let image = match parameters["ImageId"].as_str() {
        Some(image) => Some(image.to_owned()),
        None => image_of(client, &request.instance).await,
    };
    if let Some(image) = image {
        findings::warn_if_shared(client, &image).await;
    }
    client.cvm("ResetInstance", &parameters).await?;
    show_launched(client, form, &json!([request.instance]), request.no_wait).await
}

/// Lists what was launched, once nothing of it is pending any more, or at once.
async fn show_launched(client: &Client, form: OutputForm, ids: &Value, at_once: bool) -> Result<(), Error> {
    loop {
        let answer = client.cvm("DescribeInstances", &json!({ "InstanceIds": ids, "Limit": PAGE })).await?;
        let pending =
            answer["InstanceSet"].as_array().into_iter().flatten().any(|i| i["InstanceState"] == "PENDING");
        if at_once || !pending {
            output::listing(form, &answer, "InstanceSet", COLUMNS);
            return report_failures(&answer);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn report_failures(answer: &Value) -> Result<(), Error> {
    let instances = answer["InstanceSet"].as_array().into_iter().flatten();
    let failed: Vec<_> = instances
        .filter(|instance| instance["InstanceState"] == "LAUNCH_FAILED")
        .map(|i| {
            format!("{}: {}", output::text(&i["InstanceId"]), output::text(&i["LatestOperationErrorMsg"]))
        })
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n").into()) }
}

async fn list(client: &Client, form: OutputForm) -> Result<(), Error> {
    let all = pages::whole("InstanceSet", async |page| client.cvm("DescribeInstances", &page).await).await?;
    output::listing(form, &all, "InstanceSet", COLUMNS);
    Ok(())
}

/// Prints the console's log, then connects to the console itself: what is typed goes to the guest.
async fn console(client: &Client, instance: &str, no_follow: bool) -> Result<(), Error> {
    let answer = client.kiln("DescribeInstanceConnection", &json!({ "InstanceId": instance })).await?;
    let mut out = std::io::stdout();
    out.write_all(answer["ConsoleTail"].as_str().unwrap_or_default().as_bytes())?;
    out.flush()?;
    if no_follow {
        return Ok(());
    }
    let path = answer["ConsoleSocket"].as_str().unwrap_or_default();
    let socket = UnixStream::connect(path).map_err(|error| {
        format!("the console {path} cannot be opened ({error}). It is there while the instance runs, on the server's machine.")
    })?;
    eprintln!("connected to the console of {instance}; end with Ctrl-C");
    let mut typing = socket.try_clone()?;
    std::thread::spawn(move || std::io::copy(&mut std::io::stdin(), &mut typing));
    tokio::task::spawn_blocking(move || follow(socket)).await??;
    Ok(())
}

fn follow(mut socket: UnixStream) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let mut buffer = [0; 4096];
    loop {
        match socket.read(&mut buffer)? {
            0 => return Ok(()),
            read => out.write_all(&buffer[..read])?,
        }
        out.flush()?;
    }
}

/// Becomes `ssh`, connected to the guest's forwarded port.
async fn ssh(client: &Client, instance: &str, user: &str, arguments: &[String]) -> Result<ExitCode, Error> {
    let answer = client.kiln("DescribeInstanceConnection", &json!({ "InstanceId": instance })).await?;
    let port = answer["SshPort"]
        .as_u64()
        .ok_or("the instance has no forwarded SSH port: its network is a bridge")?;
    let error = std::process::Command::new("ssh")
        .args(["-p", &port.to_string(), "-l", user])
        // Every instance has host keys of its own, and ports are used again.
        .args(["-o", "StrictHostKeyChecking=accept-new", "-o", &format!("HostKeyAlias={instance}")])
        .arg("127.0.0.1")
        .args(arguments)
        .exec();
    Err(format!("ssh could not be started ({error}). Install it: apt-get install openssh-client").into())
}
