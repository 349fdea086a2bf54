-- Apart from the record, because lists do not need it.
SELECT peaks
FROM records
WHERE id = %(id)s
