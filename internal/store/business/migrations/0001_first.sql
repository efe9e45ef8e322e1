CREATE TABLE customers (
    id        TEXT PRIMARY KEY,
    name      TEXT NOT NULL,
    address   TEXT NOT NULL,
    email     TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    currency  TEXT NOT NULL,
    created   INTEGER NOT NULL, -- unix ms, here and below
    archived  INTEGER NOT NULL DEFAULT 0 -- 0: not
) STRICT, WITHOUT ROWID;

CREATE TABLE projects (
    customer TEXT NOT NULL REFERENCES customers (id),
    id       TEXT NOT NULL,
    name     TEXT NOT NULL,
    created  INTEGER NOT NULL,
    archived INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (customer, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    id       TEXT PRIMARY KEY,
    customer TEXT REFERENCES customers (id), -- NULL: the operator's
    project  TEXT,
    role     TEXT NOT NULL,
    note     TEXT NOT NULL,
    hint     TEXT NOT NULL,
    hash     BLOB NOT NULL UNIQUE,
    created  INTEGER NOT NULL,
    archived INTEGER NOT NULL DEFAULT 0,
    FOREIGN KEY (customer, project) REFERENCES projects (customer, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE tag_secrets (
    id      TEXT PRIMARY KEY,
    value   BLOB NOT NULL,
    created INTEGER NOT NULL,
    retires INTEGER NOT NULL DEFAULT 0 -- 0: the one that signs
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX tag_secrets_one_signs ON tag_secrets (retires) WHERE retires = 0;

CREATE TABLE price_books (
    version  INTEGER PRIMARY KEY, -- 1, 2, 3 …
    hash     TEXT NOT NULL,       -- SHA-256 of document, hex
    source   TEXT NOT NULL,       -- where it came from: config, command
    applied  INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    document BLOB NOT NULL        -- canonical JSON
) STRICT;

CREATE TABLE invoices (
    id           TEXT PRIMARY KEY CHECK (id = format('%s-%04d', account, number)),
    account      TEXT NOT NULL,    -- whose numbers run without a gap
    number       INTEGER NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('invoice', 'credit_note')),
    customer     TEXT NOT NULL REFERENCES customers (id),
    period_start INTEGER NOT NULL, -- unix seconds, inclusive
    period_end   INTEGER NOT NULL, -- unix seconds, exclusive
    book         INTEGER REFERENCES price_books (version), -- NULL: rated without one
    refers       TEXT REFERENCES invoices (id),            -- what a credit note credits
    state        TEXT NOT NULL CHECK (state IN ('final', 'void')),
    hash         TEXT NOT NULL, -- SHA-256 of document, hex
    finalised    INTEGER NOT NULL,
    voided       INTEGER NOT NULL DEFAULT 0,
    void_reason  TEXT NOT NULL DEFAULT '',
    document     BLOB NOT NULL, -- canonical JSON
    UNIQUE (account, number)
) STRICT;
CREATE UNIQUE INDEX invoices_one_a_period ON invoices (customer, period_start, period_end)
    WHERE state = 'final' AND kind = 'invoice';
CREATE INDEX invoices_by_period ON invoices (period_start, customer);

CREATE TABLE audit (
    seq     INTEGER PRIMARY KEY, -- 1, 2, 3 … without a gap
    at      INTEGER NOT NULL,
    actor   TEXT NOT NULL CHECK (actor <> ''),
    action  TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail  TEXT NOT NULL -- a JSON object
) STRICT;
CREATE INDEX audit_by_subject ON audit (subject, seq);

-- What never changes, for any program that writes here.
CREATE TRIGGER customers_stay BEFORE DELETE ON customers BEGIN SELECT RAISE(ABORT, 'customers are archived, not deleted'); END;
CREATE TRIGGER customers_keep BEFORE UPDATE OF id, created ON customers BEGIN SELECT RAISE(ABORT, 'a customer keeps its id'); END;
CREATE TRIGGER projects_stay BEFORE DELETE ON projects BEGIN SELECT RAISE(ABORT, 'projects are archived, not deleted'); END;
CREATE TRIGGER projects_keep BEFORE UPDATE OF customer, id, created ON projects BEGIN SELECT RAISE(ABORT, 'a project keeps its customer and id'); END;
CREATE TRIGGER keys_stay BEFORE DELETE ON keys BEGIN SELECT RAISE(ABORT, 'keys are archived, not deleted'); END;
CREATE TRIGGER keys_keep BEFORE UPDATE OF id, customer, project, role, hint, hash, created ON keys
    BEGIN SELECT RAISE(ABORT, 'a key never changes owner, role or token'); END;
CREATE TRIGGER keys_end BEFORE UPDATE OF archived ON keys WHEN OLD.archived <> 0
    BEGIN SELECT RAISE(ABORT, 'an archived key stays archived'); END;
CREATE TRIGGER tag_secrets_stay BEFORE DELETE ON tag_secrets BEGIN SELECT RAISE(ABORT, 'tag secrets retire, they are not deleted'); END;
CREATE TRIGGER tag_secrets_keep BEFORE UPDATE OF id, value, created ON tag_secrets BEGIN SELECT RAISE(ABORT, 'a tag secret keeps its value'); END;
CREATE TRIGGER tag_secrets_end BEFORE UPDATE OF retires ON tag_secrets WHEN NEW.retires = 0 OR (OLD.retires <> 0 AND NEW.retires > OLD.retires)
    BEGIN SELECT RAISE(ABORT, 'a tag secret retires once, and no later than it was to'); END;
CREATE TRIGGER price_books_stay BEFORE DELETE ON price_books BEGIN SELECT RAISE(ABORT, 'price books stay'); END;
CREATE TRIGGER price_books_keep BEFORE UPDATE ON price_books BEGIN SELECT RAISE(ABORT, 'a version of a price book never changes'); END;
CREATE TRIGGER invoices_stay BEFORE DELETE ON invoices BEGIN SELECT RAISE(ABORT, 'invoices are voided, not deleted'); END;
CREATE TRIGGER invoices_keep
    BEFORE UPDATE OF id, account, number, kind, customer, period_start, period_end, book, refers, hash, finalised, document ON invoices
    BEGIN SELECT RAISE(ABORT, 'a closed invoice never changes'); END;
CREATE TRIGGER invoices_end BEFORE UPDATE OF state, voided, void_reason ON invoices WHEN OLD.state <> 'final' OR NEW.state <> 'void'
    BEGIN SELECT RAISE(ABORT, 'an invoice goes from final to void, once'); END;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_keeps BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- What is new takes no other's place. INSERT OR REPLACE deletes what is in its
-- way without firing the triggers above, so nothing may be in its way.
CREATE TRIGGER customers_new BEFORE INSERT ON customers WHEN EXISTS (SELECT 1 FROM customers WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'the customer is there already'); END;
CREATE TRIGGER projects_new BEFORE INSERT ON projects WHEN EXISTS (SELECT 1 FROM projects WHERE customer = NEW.customer AND id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'the project is there already'); END;
CREATE TRIGGER keys_new BEFORE INSERT ON keys WHEN EXISTS (SELECT 1 FROM keys WHERE id = NEW.id OR hash = NEW.hash)
    BEGIN SELECT RAISE(ABORT, 'the key is there already'); END;
CREATE TRIGGER tag_secrets_new BEFORE INSERT ON tag_secrets
    WHEN EXISTS (SELECT 1 FROM tag_secrets WHERE id = NEW.id OR (retires = 0 AND NEW.retires = 0))
    BEGIN SELECT RAISE(ABORT, 'the tag secret is there already, or another one signs'); END;
CREATE TRIGGER price_books_new BEFORE INSERT ON price_books WHEN NEW.version <> (SELECT coalesce(max(version), 0) + 1 FROM price_books)
    BEGIN SELECT RAISE(ABORT, 'versions of the price book have no gap'); END;
CREATE TRIGGER invoices_new BEFORE INSERT ON invoices
    WHEN NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM invoices WHERE account = NEW.account)
    BEGIN SELECT RAISE(ABORT, 'numbers of an account have no gap'); END;
CREATE TRIGGER invoices_once BEFORE INSERT ON invoices
    WHEN NEW.kind = 'invoice' AND EXISTS (SELECT 1 FROM invoices WHERE customer = NEW.customer AND state = 'final' AND kind = 'invoice'
        AND period_start < NEW.period_end AND period_end > NEW.period_start)
    BEGIN SELECT RAISE(ABORT, 'a part of the period is invoiced already'); END;
CREATE TRIGGER audit_new BEFORE INSERT ON audit WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM audit)
    BEGIN SELECT RAISE(ABORT, 'the audit log has no gap'); END;
