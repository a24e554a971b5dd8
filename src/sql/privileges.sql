-- Nothing is anybody's until it is granted.  (Tables and views start that way.)

REVOKE ALL ON ALL ROUTINES IN SCHEMA stedi FROM PUBLIC;
