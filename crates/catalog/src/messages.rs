//! Messages to accounts' owners, and what is still to be sent of them.

use kiln_model::{Channel, Contact, Delivery, DeliveryState, Message, MessageEvent, Timestamp, Uin};
use sqlx::query;

use crate::accounts::read_contact;
use crate::catalog::Tx;
use crate::column::{Builder, Row, integer, push_page, uin};
use crate::words::Word;
use crate::{Error, Result};

/// A message to be kept, and sent by the named ways.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of a message")]
pub struct NewMessage {
    pub account: Uin,
    pub event: MessageEvent,
    pub subject: String,
    pub title: String,
    pub text: String,
    pub at: Timestamp,
    pub channels: Vec<Channel>,
}

/// A message that is to be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say all")]
pub struct DueDelivery {
    pub message: u64,
    pub channel: Channel,
    pub attempts: u32,
    pub title: String,
    pub text: String,
    /// Where its reader is reached now.
    pub contact: Contact,
}

fn read_message(row: &Row) -> Result<Message> {
    Ok(Message {
        number: row.number("number")?,
        account: row.uin("account")?,
        event: row.word("event")?,
        subject: row.text("subject")?,
        title: row.text("title")?,
        text: row.text("body")?,
        created_at: row.time("created_at")?,
        deliveries: Vec::new(),
    })
}

fn read_delivery(row: &Row) -> Result<Delivery> {
    Ok(Delivery {
        channel: row.word("channel")?,
        state: row.word("state")?,
        attempts: row.number("attempts")?,
        error: row.text("error")?,
    })
}

fn read_due(row: &Row) -> Result<DueDelivery> {
    Ok(DueDelivery {
        message: row.number("number")?,
        channel: row.word("channel")?,
        attempts: row.number("attempts")?,
        title: row.text("title")?,
        text: row.text("body")?,
        contact: read_contact(row)?,
    })
}

impl Tx {
    /// Keeps a message, and puts it where the next sending finds it.
    ///
    /// # Errors
    /// `Missing` where the account does not exist.
    pub async fn insert_message(&mut self, message: &NewMessage) -> Result<()> {
        let sql = "INSERT INTO messages (account, event, subject, title, body, created_at)
            VALUES ($1, $2, $3, $4, $5, $6) RETURNING number AS n";
        let insert = query(sql)
            .bind(uin(message.account)?)
            .bind(message.event.word())
            .bind(&message.subject)
            .bind(&message.title)
            .bind(&message.text)
            .bind(message.at.0);
        let number: i64 = self.count(insert).await?;
        for channel in &message.channels {
            let sql = "INSERT INTO deliveries (message, channel, state, attempts, due_at, error)
                VALUES ($1, $2, $3, 0, $4, '')";
            let insert = query(sql)
                .bind(number)
                .bind(channel.word())
                .bind(DeliveryState::Pending.word())
                .bind(message.at.0);
            self.change(insert).await?;
        }
        Ok(())
    }

    /// A page of an account's messages, newest first, and how many there are in all.
    pub async fn messages(&mut self, account: Uin, offset: u64, limit: u64) -> Result<(Vec<Message>, u64)> {
        let count = query("SELECT COUNT(*) AS n FROM messages WHERE account = $1").bind(uin(account)?);
        let total = self.count(count).await?;
        let mut select = Builder::new("SELECT * FROM messages WHERE account = ");
        select.push_bind(uin(account)?).push(" ORDER BY number DESC");
        push_page(&mut select, offset, limit)?;
        let mut messages = self.list(select.build(), read_message).await?;
        for message in &mut messages {
            let sql = "SELECT * FROM deliveries WHERE message = $1 ORDER BY channel";
            let select = query(sql).bind(integer(message.number, "message")?);
            message.deliveries = self.list(select, read_delivery).await?;
        }
        Ok((messages, total))
    }

    /// What is to be sent at a time, the longest waiting first.
    pub async fn due_deliveries(&mut self, now: Timestamp, limit: u64) -> Result<Vec<DueDelivery>> {
        let sql = "SELECT d.channel, d.attempts, m.number, m.title, m.body, a.email, a.phone, a.notify_email,
                a.notify_sms
            FROM deliveries d JOIN messages m ON m.number = d.message JOIN accounts a ON a.uin = m.account
            WHERE d.state = 'pending' AND d.due_at <= $1 ORDER BY d.due_at, d.message LIMIT $2";
        self.list(query(sql).bind(now.0).bind(integer(limit, "limit")?), read_due).await
    }

    /// Records what an attempt to send came to; `due_at` is when the next one may be.
    ///
    /// # Errors
    /// `Stale` where it is not to be sent any more.
    pub async fn record_delivery(
        &mut self,
        due: &DueDelivery,
        state: DeliveryState,
        error: &str,
        due_at: Timestamp,
    ) -> Result<()> {
        let sql = "UPDATE deliveries SET state = $1, error = $2, due_at = $3, attempts = attempts + 1
            WHERE message = $4 AND channel = $5 AND state = 'pending'";
        let update = query(sql)
            .bind(state.word())
            .bind(error)
            .bind(due_at.0)
            .bind(integer(due.message, "message")?)
            .bind(due.channel.word());
        match self.change(update).await? {
            0 => Err(Error::Stale("not to be sent any more")),
            _ => Ok(()),
        }
    }
}
