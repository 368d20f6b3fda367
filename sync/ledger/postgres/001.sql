-- The ledger of head office. All of it is in one schema, made and changed by poshub
-- alone. Bytes that are compared or hashed are bytea: text that a terminal wrote may be
-- no text. Names are compared byte by byte (collation "C"), as the other store does.

create table pos.ledger (
  one    boolean primary key default true check (one),
  id     uuid not null,                        -- for ever: a restored copy keeps it
  schema integer not null,
  made   timestamptz not null default now(),
  opened timestamptz not null default now()    -- by the last hub that came
);

-- How far each lane has come. A stream's time of creation has nanoseconds.
create table pos.positions (
  lane       text collate "C" primary key,
  created_ns bigint,
  seq        bigint not null,
  out        bigint not null,
  moved      timestamptz not null default now()
);

-- One row a journal, changed by every parcel: room for that in each page, and no index
-- on what changes, so that the new version of a row stays in its page (HOT).
create table pos.chains (
  journal  uuid primary key,
  store    text collate "C" not null,
  terminal text collate "C" not null,
  last     bigint not null,
  head     bytea not null check (length(head) = 32),
  body     json not null
) with (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
create index chains_terminal on pos.chains (store, terminal);

-- The events, under the names that they were given by the journal that brought them
-- first. at is a function of the payload alone: the terminal's time of the event, or
-- -infinity if there is none that can be believed. So an event that comes again comes to
-- the same partition. The partitions, events_YYYY_MM, have two indexes each:
-- (journal, seq), unique, and (journal, at).
create table pos.events (
  journal uuid not null,
  seq     bigint not null,
  at      timestamptz not null,
  head    bytea not null,
  payload bytea not null
) partition by range (at);

create table pos.events_odd partition of pos.events for values from (minvalue) to ('2024-01-01 00:00:00+00');
create unique index events_odd_name on pos.events_odd (journal, seq);

-- When a month last got an event, to the day: what pos.drop_events_before asks.
create table pos.months (
  month  date primary key,
  newest date not null
);

-- Heads of records that are no events, or whose event came first as a copy.
create table pos.heads (
  journal uuid not null,
  seq     bigint not null,
  head    bytea not null,
  primary key (journal, seq)
);

-- Events that came as copies in another journal than their own.
create table pos.copies (
  journal    uuid not null,
  seq        bigint not null,
  head       bytea not null,
  at         timestamptz not null,
  in_journal uuid not null,
  in_seq     bigint not null,
  payload    bytea not null,
  primary key (journal, seq, head)
);

create table pos.receipts (
  store    text collate "C" not null,
  terminal text collate "C" not null,
  number   text collate "C" not null,
  journal  uuid not null,
  seq      bigint not null,
  head     bytea not null,
  primary key (store, terminal, number)
);

create table pos.collisions (
  store    text collate "C" not null,
  terminal text collate "C" not null,
  number   text collate "C" not null,
  journal  uuid not null,
  seq      bigint not null,
  head     bytea not null,
  noticed  timestamptz not null,
  primary key (store, terminal, number, journal, seq, head)
);

create table pos.holes (
  journal uuid not null,
  first   bigint not null,
  last    bigint not null,
  at      timestamptz not null,
  primary key (journal, first)
);

create table pos.quarantine (
  key   bytea primary key,
  open  boolean not null,   -- nobody has decided
  about json not null,
  body  bytea not null
);
alter table pos.quarantine alter column body set storage external; -- it is compressed already
create index quarantine_open on pos.quarantine (key) where open;

-- The outbox. A row is a run: the events first to last of a lane are those of journal
-- from seq on, one after the other; or, with a head, the one event of that name.
create table pos.out (
  lane    text collate "C" not null,
  first   bigint not null,
  last    bigint not null,
  journal uuid not null,
  seq     bigint not null,
  head    bytea,
  from_at timestamptz not null,
  to_at   timestamptz not null,
  primary key (lane, last)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

create table pos.docs (
  kind  text collate "C" not null,
  key   text collate "C" not null,
  value bytea not null,
  primary key (kind, key)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

-- For people and their tools: every event with its terminal.
create view pos.all_events as
  select c.store, c.terminal, e.journal, e.seq, e.head, e.at, e.payload, null::uuid as in_journal, null::bigint as in_seq
  from pos.events e left join pos.chains c using (journal)
  union all
  select c.store, c.terminal, e.journal, e.seq, e.head, e.at, e.payload, e.in_journal, e.in_seq
  from pos.copies e left join pos.chains c using (journal);

-- Drops the events of whole months that ended before a day, if nothing came for them
-- since that day and the outbox is past them. It returns what was dropped.
create function pos.drop_events_before(day date) returns setof text language plpgsql as $$
declare
  part record;
begin
  if day > current_date - 400 then
    raise exception 'events younger than 400 days may be asked for again by a stream that is read anew'
      using hint = 'give an earlier day, and keep events longer than the streams keep parcels';
  end if;
  if exists (select from pos.out where from_at < day) then
    raise exception 'the outbox has not published all events before %', day;
  end if;
  for part in
    select m.month, 'pos.events_' || to_char(m.month, 'YYYY_MM') as name from pos.months m
    where m.month + interval '1 month' <= day and m.newest < day order by m.month
  loop
    if to_regclass(part.name) is not null then
      execute 'drop table ' || part.name;
      return next part.name;
    end if;
    delete from pos.copies where at >= part.month::timestamp at time zone 'UTC'
      and at < (part.month + interval '1 month') at time zone 'UTC';
    delete from pos.months where month = part.month;
  end loop;
end $$;
