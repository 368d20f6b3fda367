package event

// What became of head office's orders. Serial is the order's number, 0 where it could
// not be read or was not head office's.

// ConfigApplied is written when a pushed configuration comes into force: sales behind
// it in the journal are made under it, sales before it are not.
type ConfigApplied struct {
	Serial uint64
	Config string // lower-case hex SHA-256 of the configuration in force from here on
	Former string // of the one before
}

// ConfigRefused is written when a pushed configuration is not taken, or is given up
// because posd did not start with it.
type ConfigRefused struct {
	Serial uint64
	Config string // lower-case hex SHA-256 of the configuration that stays in force
	Reason string
}

// CommandExecuted is written when a command was carried out, or may have been.
type CommandExecuted struct {
	Serial  uint64
	Command string
	Outcome string // done, failed, or unknown: posd ended while it was carried out
	Detail  string // what was done, or what was in the way
}

// CommandRefused is written when a command was not carried out.
type CommandRefused struct {
	Serial  uint64
	Command string
	Reason  string
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *ConfigApplied) AppendEvent(dst []byte, h Header) ([]byte, error) {
	dst = appendHeader(dst, TypeConfigApplied, h)
	dst = appendUint(dst, `{"serial":`, e.Serial)
	dst = appendText(dst, `,"config":`, e.Config)
	dst = appendText(dst, `,"former":`, e.Former)
	return append(dst, "}}"...), nil
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *ConfigRefused) AppendEvent(dst []byte, h Header) ([]byte, error) {
	dst = appendHeader(dst, TypeConfigRefused, h)
	dst = appendUint(dst, `{"serial":`, e.Serial)
	dst = appendText(dst, `,"config":`, e.Config)
	dst = appendText(dst, `,"reason":`, e.Reason)
	return append(dst, "}}"...), nil
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *CommandExecuted) AppendEvent(dst []byte, h Header) ([]byte, error) {
	dst = appendHeader(dst, TypeCommandExecuted, h)
	dst = appendUint(dst, `{"serial":`, e.Serial)
	dst = appendText(dst, `,"command":`, e.Command)
	dst = appendText(dst, `,"outcome":`, e.Outcome)
	dst = appendSome(dst, `,"detail":`, e.Detail)
	return append(dst, "}}"...), nil
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *CommandRefused) AppendEvent(dst []byte, h Header) ([]byte, error) {
	dst = appendHeader(dst, TypeCommandRefused, h)
	dst = appendUint(dst, `{"serial":`, e.Serial)
	dst = appendSome(dst, `,"command":`, e.Command)
	dst = appendText(dst, `,"reason":`, e.Reason)
	return append(dst, "}}"...), nil
}

// ParseConfigApplied reads the data of a config.applied. Errors: ErrMalformed.
func ParseConfigApplied(data []byte) (ConfigApplied, error) {
	var e ConfigApplied
	r := newReader(data)
	r.object(members{
		{"serial", &e.Serial, must},
		{"config", &e.Config, must},
		{"former", &e.Former, must},
	})
	return finish(r, e)
}

// ParseConfigRefused reads the data of a config.refused. Errors: ErrMalformed.
func ParseConfigRefused(data []byte) (ConfigRefused, error) {
	var e ConfigRefused
	r := newReader(data)
	r.object(members{
		{"serial", &e.Serial, must},
		{"config", &e.Config, must},
		{"reason", &e.Reason, must},
	})
	return finish(r, e)
}

// ParseCommandExecuted reads the data of a command.executed. Errors: ErrMalformed.
func ParseCommandExecuted(data []byte) (CommandExecuted, error) {
	var e CommandExecuted
	r := newReader(data)
	r.object(members{
		{"serial", &e.Serial, must},
		{"command", &e.Command, must},
		{"outcome", &e.Outcome, must},
		{"detail", &e.Detail, may},
	})
	return finish(r, e)
}

// ParseCommandRefused reads the data of a command.refused. Errors: ErrMalformed.
func ParseCommandRefused(data []byte) (CommandRefused, error) {
	var e CommandRefused
	r := newReader(data)
	r.object(members{
		{"serial", &e.Serial, must},
		{"command", &e.Command, may},
		{"reason", &e.Reason, must},
	})
	return finish(r, e)
}
