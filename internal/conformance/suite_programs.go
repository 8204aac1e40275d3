package conformance

import "time"

// programSuites are programs of our own for what publishes no tests on servers. They
// find the servers themselves.
func programSuites() []Suite {
	gorm, bun, ent := &Source{Own: "programs/gormtest"}, &Source{Own: "programs/buntest"}, &Source{Own: "programs/enttest"}
	return []Suite{
		{Name: "gorm/plain", Source: gorm, Run: "TestGORM$", Modes: allModes, Timeout: programTime},
		{Name: "gorm/prepared", Source: gorm, Run: "TestGORMPrepared$", Modes: allModes, Timeout: programTime},
		{Name: "gorm/autocommit", Source: gorm, Run: "TestGORMAutocommit$", Modes: allModes, Timeout: programTime},
		{Name: "bun/plain", Source: bun, Modes: allModes, Timeout: programTime},
		{Name: "ent/plain", Source: ent, Modes: allModes, Timeout: programTime},
	}
}

// programTime is for five databases, each with the tables of every program.
const programTime = 5 * time.Minute
