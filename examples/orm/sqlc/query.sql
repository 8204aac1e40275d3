-- name: Add :exec
UPDATE accounts SET balance = balance + sqlc.arg(amount) WHERE id = sqlc.arg(id);

-- name: Balance :one
SELECT balance FROM accounts WHERE id = ?;
