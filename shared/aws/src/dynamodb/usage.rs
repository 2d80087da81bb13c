//! Plans and counters: `pk` is the tenant, `sk` says what the item is.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, Put, ReturnValue, TransactWriteItem, Update};
use jiff::Timestamp;
use model::{
    IdempotencyEntry, IdempotencyKey, MAX_OPEN_UPLOADS, Month, OpenUploads, Partition, Pool, Reservation, Tenant,
    TenantId, UPLOAD_MEMORY, Upload, UploadId, UploadSlot, Window, after,
};
use ports::{AddUploadError, IdSource, MonthUsage, PortError, RetryPolicy, UsageStore, retry};

use super::cancelled::{CONDITION, CONTENTION, other, reasons};
use super::changing::ContentItem;
use super::{Item, VERSION, check_version, get, key, number, read, read_number, text, time_to_live};
use crate::error::{port_error, unreadable};

const HOUR: Duration = Duration::from_hours(1);

/// A write that meets another transaction on its items has done nothing, and the SDK does not make it again: 50 at once
/// took up to 12 tries.
const CONTENDED: RetryPolicy = RetryPolicy::new(15, 10, 400);

/// [`UsageStore`] on DynamoDB.
pub struct DynamoUsage {
    pub(crate) client: Client,
    pub(crate) table: String,
    pub(crate) ids: Arc<dyn IdSource>,
}

impl DynamoUsage {
    /// Deletes a tenant's plan and limits. `false` when they are others by now: nothing was done then. What the tenant has
    /// used stays until it expires.
    #[cfg(feature = "operators")]
    pub async fn delete_tenant(&self, tenant: &Tenant) -> Result<bool, PortError> {
        let (client, table, key) = (&self.client, self.table.as_str(), plan_key(&tenant.id));
        ContentItem { client, table, operation: "delete tenant", attribute: "tenant", key }.delete(tenant).await
    }

    async fn get(&self, operation: &'static str, key: Item) -> Result<Option<Item>, PortError> {
        let found = get(&self.client, &self.table, operation, key).await?;
        found.map(|item| check_version(operation, &item).map(|()| item)).transpose()
    }

    /// Adds one to a counter and returns what it stands at.
    async fn count(&self, operation: &'static str, key: Item, forget_at: Timestamp) -> Result<u64, PortError> {
        let count = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .update_expression(COUNT)
            .expression_attribute_values(":requests", number(1))
            .expression_attribute_values(":forget", time_to_live(forget_at))
            .expression_attribute_values(":v", number(VERSION))
            .return_values(ReturnValue::UpdatedNew);
        let is_contended = |error: &SdkError<UpdateItemError, _>| {
            error.as_service_error().is_some_and(UpdateItemError::is_transaction_conflict_exception)
        };
        let counted = retry(CONTENDED, self.ids.as_ref(), is_contended, || count.clone().send()).await;
        let counted = counted.map_err(|error| port_error(operation, &error))?;
        let stands = counted.attributes().and_then(|attributes| read_number(attributes, "used"));
        stands.ok_or_else(|| unreadable(operation, "counter cannot be read"))
    }
}

/// Counts `:requests` in an item that may not exist yet.
const COUNT: &str = "ADD used :requests SET expiresAt = :forget, v = :v";

/// The tenant's plan has a key of its own: functions may write what tenants use, and never their plans.
fn plan_key(tenant: &TenantId) -> Item {
    key(tenant.as_str(), "plan")
}

/// Under which all else of a tenant lies. No tenant's id has a `#`.
pub(crate) fn usage_of(tenant: &TenantId) -> String {
    format!("{tenant}#usage")
}

fn usage_key(tenant: &TenantId, sort: impl Into<String>) -> Item {
    key(usage_of(tenant), sort)
}

pub(super) fn month_key(tenant: &TenantId, pool: Pool, month: &Month) -> Item {
    usage_key(tenant, format!("month#{}#{}", pool.as_str(), month.as_str()))
}

/// The counting of a reservation, as part of a transaction; `None` when it is more than the whole limit,
/// which no condition of the store can say.
pub(super) fn reserved(
    partition: &Partition,
    reservation: &Reservation,
    limit: Option<u64>,
    table: &str,
) -> Option<UpdateBuilder> {
    let update = counted(partition, reservation, number(reservation.requests), table);
    let Some(limit) = limit else { return Some(update) };
    let room = limit.checked_sub(reservation.requests)?;
    let update = update.condition_expression("attribute_not_exists(used) OR used <= :room");
    Some(update.expression_attribute_values(":room", number(room)))
}

/// The giving back of a reservation, as part of a transaction.
pub(super) fn refunded(partition: &Partition, reservation: &Reservation, table: &str) -> UpdateBuilder {
    counted(partition, reservation, number(format_args!("-{}", reservation.requests)), table)
}

fn counted(partition: &Partition, reservation: &Reservation, requests: AttributeValue, table: &str) -> UpdateBuilder {
    Update::builder()
        .table_name(table)
        .set_key(Some(month_key(&partition.tenant, reservation.pool, &reservation.month)))
        .update_expression(COUNT)
        .expression_attribute_values(":requests", requests)
        .expression_attribute_values(":forget", time_to_live(reservation.month.forget_at()))
        .expression_attribute_values(":v", number(VERSION))
}

pub(super) fn upload_key(partition: &Partition, upload: &UploadId) -> Item {
    usage_key(&partition.tenant, format!("upload#{}#{upload}", partition.environment))
}

/// Who holds the slots for open uploads.
fn slots_key(partition: &Partition) -> Item {
    usage_key(&partition.tenant, format!("slots#{}", partition.environment))
}

fn slot_name(number: usize) -> String {
    format!("slot{number}")
}

fn read_upload(operation: &'static str, mut item: Item) -> Result<Upload, PortError> {
    let broken = || unreadable(operation, "item cannot be read");
    let used_by = match item.get("usedBy") {
        Some(job) => Some(job.as_s().ok().and_then(|job| job.parse().ok()).ok_or_else(broken)?),
        None => None,
    };
    Ok(Upload { used_by, ..read(operation, &mut item, "upload")? })
}

fn window_key(tenant: &TenantId) -> Item {
    usage_key(tenant, "window")
}

pub(super) fn window_item(tenant: &TenantId, window: &Window) -> Item {
    let mut item = window_key(tenant);
    item.insert("v".to_owned(), number(VERSION));
    item.insert("version".to_owned(), number(window.version));
    item.insert("starts".to_owned(), AttributeValue::L(window.starts.iter().map(number).collect()));
    // No time to live: the version has to go on counting for as long as a call may hold an older one.
    item
}

/// How the sort keys of what a partition has in its tenant's items begin.
pub(crate) fn tenant_prefixes(partition: &Partition) -> [String; 3] {
    ["idem#", "upload#", "slots#"].map(|kind| format!("{kind}{}", partition.environment))
}

pub(super) fn idempotency_key(partition: &Partition, client_key: &IdempotencyKey) -> Item {
    usage_key(&partition.tenant, format!("idem#{}#{}", partition.environment, client_key.as_str()))
}

pub(super) fn idempotency_item(
    partition: &Partition,
    client_key: &IdempotencyKey,
    entry: &IdempotencyEntry,
) -> Result<Item, PortError> {
    let content = serde_dynamo::to_attribute_value(entry)
        .map_err(|_| unreadable("accept job", "idempotency entry cannot be put into an item"))?;
    let mut item = idempotency_key(partition, client_key);
    item.insert("v".to_owned(), number(VERSION));
    item.insert("expiresAtMs".to_owned(), number(entry.expires_at.as_millisecond()));
    item.insert("expiresAt".to_owned(), time_to_live(after(entry.expires_at, HOUR)));
    item.insert("jobId".to_owned(), text(entry.job_id.as_str()));
    item.insert("entry".to_owned(), content);
    Ok(item)
}

impl DynamoUsage {
    /// Every tenant: for operators. Reads the whole table.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, PortError> {
        const OPERATION: &str = "list tenants";
        let scan = self.client.scan().table_name(&self.table).filter_expression("sk = :plan");
        let scan = scan.expression_attribute_values(":plan", text("plan"));
        let items = scan.into_paginator().items().send().try_collect().await;
        let items = items.map_err(|error| port_error(OPERATION, &error))?.into_iter();
        items.map(|mut item| read(OPERATION, &mut item, "tenant")).collect()
    }
}

#[async_trait]
impl UsageStore for DynamoUsage {
    async fn tenant(&self, tenant: &TenantId) -> Result<Option<Tenant>, PortError> {
        const OPERATION: &str = "read tenant";
        let found = self.get(OPERATION, plan_key(tenant)).await?;
        found.map(|mut item| read(OPERATION, &mut item, "tenant")).transpose()
    }

    async fn save_tenant(&self, tenant: &Tenant, before: Option<&Tenant>) -> Result<bool, PortError> {
        let (client, table, key) = (&self.client, self.table.as_str(), plan_key(&tenant.id));
        let item = ContentItem { client, table, operation: "save tenant", attribute: "tenant", key };
        item.change(tenant, before, Item::new()).await
    }

    async fn count_minute(&self, tenant: &TenantId, now: Timestamp) -> Result<u64, PortError> {
        let minute = now.as_second().div_euclid(60);
        self.count("count minute", usage_key(tenant, format!("minute#{minute}")), after(now, HOUR)).await
    }

    async fn month(&self, tenant: &TenantId, month: &Month) -> Result<MonthUsage, PortError> {
        const OPERATION: &str = "read month";
        let pools = [Pool::Live, Pool::Test, Pool::Shared];
        let keys = pools.iter().map(|pool| month_key(tenant, *pool, month)).collect();
        let wanted = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .build()
            .map_err(|_| unreadable(OPERATION, "request cannot be built"))?;
        let found = self
            .client
            .batch_get_item()
            .request_items(&self.table, wanted)
            .send()
            .await
            .map_err(|error| port_error(OPERATION, &error))?;
        if found.unprocessed_keys().is_some_and(|keys| !keys.is_empty()) {
            return Err(PortError::throttled(OPERATION, "unprocessed keys"));
        }
        let mut usage = MonthUsage::default();
        for item in found.responses().into_iter().flatten().flat_map(|(_, items)| items) {
            let used = read_number(item, "used").unwrap_or(0);
            let sort = item.get("sk").and_then(|sort| sort.as_s().ok()).map(String::as_str);
            match sort.and_then(|sort| sort.split('#').nth(1)) {
                Some("live") => usage.live = used,
                Some("test") => usage.test = used,
                Some("shared") => usage.shared = used,
                _ => return Err(unreadable(OPERATION, "item cannot be read")),
            }
        }
        Ok(usage)
    }

    async fn count_month(&self, tenant: &TenantId, pool: Pool, month: &Month) -> Result<u64, PortError> {
        self.count("count month", month_key(tenant, pool, month), month.forget_at()).await
    }

    async fn window(&self, tenant: &TenantId) -> Result<Window, PortError> {
        const OPERATION: &str = "read window";
        let Some(item) = self.get(OPERATION, window_key(tenant)).await? else { return Ok(Window::default()) };
        let read = || {
            let starts = item.get("starts")?.as_l().ok()?;
            let starts = starts.iter().map(|start| start.as_n().ok()?.parse().ok()).collect::<Option<_>>()?;
            Some(Window { version: read_number(&item, "version")?, starts })
        };
        read().ok_or_else(|| unreadable(OPERATION, "item cannot be read"))
    }

    async fn create_upload(
        &self,
        partition: &Partition,
        upload: &Upload,
        reservation: &Reservation,
        month_limit: Option<u64>,
        slot: &UploadSlot,
    ) -> Result<(), AddUploadError> {
        const OPERATION: &str = "create upload";
        let broken = |_| unreadable(OPERATION, "request cannot be built");
        let Some(month) = reserved(partition, reservation, month_limit, &self.table) else {
            return Err(AddUploadError::MonthFull);
        };
        let content = serde_dynamo::to_attribute_value(upload)
            .map_err(|_| unreadable(OPERATION, "upload cannot be put into an item"))?;
        let mut item = upload_key(partition, &upload.id);
        item.insert("v".to_owned(), number(VERSION));
        item.insert("upload".to_owned(), content);
        item.insert("expiresAt".to_owned(), time_to_live(after(upload.expires_at, UPLOAD_MEMORY)));
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).build().map_err(broken)?;
        let is_held = if slot.holder.is_some() { "#slot = :holder" } else { "attribute_not_exists(#slot)" };
        let slots = Update::builder()
            .table_name(&self.table)
            .set_key(Some(slots_key(partition)))
            .update_expression("SET #slot = :upload, v = :v")
            .condition_expression(is_held)
            .expression_attribute_names("#slot", slot_name(slot.number))
            .expression_attribute_values(":upload", text(upload.id.as_str()))
            .expression_attribute_values(":v", number(VERSION));
        let slots = match &slot.holder {
            Some(holder) => slots.expression_attribute_values(":holder", text(holder.as_str())),
            None => slots,
        };
        let create = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(put).build())
            .transact_items(TransactWriteItem::builder().update(month.build().map_err(broken)?).build())
            .transact_items(TransactWriteItem::builder().update(slots.build().map_err(broken)?).build());
        let Err(error) = create.send().await else { return Ok(()) };
        Err(match reasons(&error) {
            Some(reasons) if reasons.get(2) == Some(&CONDITION) || reasons.contains(&CONTENTION) => {
                AddUploadError::Conflict
            }
            Some(reasons) if reasons.get(1) == Some(&CONDITION) => AddUploadError::MonthFull,
            Some(reasons) => other(OPERATION, &reasons).into(),
            None => port_error(OPERATION, &error).into(),
        })
    }

    async fn open_uploads(&self, partition: &Partition, now: Timestamp) -> Result<OpenUploads, PortError> {
        const OPERATION: &str = "list uploads";
        // Read first: whoever holds a slot here is among the uploads that are read after it, or will be in a moment.
        let slots = self.get(OPERATION, slots_key(partition)).await?.unwrap_or_default();
        let broken = || unreadable(OPERATION, "item cannot be read");
        let mut holders = [const { None }; MAX_OPEN_UPLOADS];
        for (number, holder) in holders.iter_mut().enumerate() {
            let Some(id) = slots.get(&slot_name(number)) else { continue };
            *holder = Some(id.as_s().ok().and_then(|id| id.parse().ok()).ok_or_else(broken)?);
        }
        let sort_key = |id: &str| text(format!("upload#{}#{id}", partition.environment));
        let items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :tenant AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":tenant", text(usage_of(&partition.tenant)))
            .expression_attribute_values(":first", sort_key(Upload::oldest_open(now).as_str()))
            .expression_attribute_values(":last", sort_key("~"))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|error| port_error(OPERATION, &error))?;
        let recent = items.into_iter().map(|item| read_upload(OPERATION, item)).collect::<Result<_, _>>()?;
        Ok(OpenUploads { recent, holders })
    }

    async fn upload(&self, partition: &Partition, id: &UploadId) -> Result<Option<Upload>, PortError> {
        const OPERATION: &str = "read upload";
        let item = self.get(OPERATION, upload_key(partition, id)).await?;
        item.map(|item| read_upload(OPERATION, item)).transpose()
    }

    async fn idempotency(
        &self,
        partition: &Partition,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<IdempotencyEntry>, PortError> {
        const OPERATION: &str = "read idempotency entry";
        let Some(mut item) = self.get(OPERATION, idempotency_key(partition, key)).await? else { return Ok(None) };
        let entry: IdempotencyEntry = read(OPERATION, &mut item, "entry")?;
        Ok(Some(entry).filter(|entry| entry.expires_at > now))
    }
}
