"""Who had mail on another server: lists of users as Dovecot has them, aliases as Postfix has them."""
