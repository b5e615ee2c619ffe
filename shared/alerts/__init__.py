"""Messages to the people who run 3T: an outbox in MariaDB, channels by Apprise, performance."""
