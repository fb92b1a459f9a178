-- The embedded CRM's file, for every program that reads it.
--
-- records   what stands in the CRM now. `fields` is a JSON object; a field that is not in it has no value.
-- changes   every change of a field, ours and people's, in the order in which they were made. `before` and `after` are
--           JSON ('null': no value). `source` is person, import or revops; a change by revops carries the id of its
--           write. All changes of one call carry the same `at`, and no two calls on a record do. The first change of a
--           record is its creation, of the field '' where it was made without fields; archiving changes "archived".
-- about     `file` names this file for ever, so that positions in another file's changes are told apart.
-- Times are RFC 3339 in UTC with milliseconds. Indexes named "related ..." belong to [crm.relations].
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS records (
  kind       TEXT NOT NULL,
  id         TEXT NOT NULL,
  fields     TEXT NOT NULL CHECK (json_valid(fields)),
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  archived   INTEGER NOT NULL DEFAULT 0,
  UNIQUE (kind, id)
);

CREATE TABLE IF NOT EXISTS changes (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  kind     TEXT NOT NULL,
  id       TEXT NOT NULL,
  field    TEXT NOT NULL,
  before   TEXT,
  after    TEXT,
  actor    TEXT NOT NULL,
  source   TEXT NOT NULL,
  write_id TEXT,
  at       TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS changes_of_record ON changes (kind, id);
CREATE INDEX IF NOT EXISTS changes_by_people ON changes (kind, id, field) WHERE source = 'person';
CREATE INDEX IF NOT EXISTS changes_by_write ON changes (write_id, kind, id) WHERE write_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT OR IGNORE INTO about VALUES ('file', lower(hex(randomblob(4))));

PRAGMA user_version = 1;
COMMIT;
