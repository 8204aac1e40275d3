CREATE TABLE accounts (
    id      TEXT PRIMARY KEY NOT NULL,
    balance INTEGER NOT NULL
);
