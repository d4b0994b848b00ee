-- Parts are told apart by ETags, which are MD5s of their bytes only where somebody asks for that.

ALTER TABLE parts RENAME COLUMN md5 TO etag;
