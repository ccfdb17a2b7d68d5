#!/usr/bin/env python3
"""Writes concrete.csv: 1,000 made-up concrete mixes and the strength that a formula gives each, with noise.

The columns are what a laboratory would note: kilograms per cubic metre of cement, slag, ash, water, plasticizer, coarse and fine
aggregate, the age in days, and the compressive strength in MPa. The formula has the shape of two textbook laws: strength falls
with the ratio of water to binder (Abrams) and grows with the age towards a limit, slag and ash counting less and later than cement.
The noise has a standard deviation of 2 MPa, so no model can explain all of the variance. Same script, same file, to the byte.
"""

import math
import random
from pathlib import Path

draw = random.Random(20)
rows = ["cement,slag,ash,water,plasticizer,coarse,fine,age,strength"]
for _ in range(1000):
    cement = draw.uniform(140, 500)
    slag = draw.choice([0, 0, 1]) * draw.uniform(20, 250)
    ash = draw.choice([0, 0, 1]) * draw.uniform(20, 180)
    plasticizer = draw.choice([0, 1, 1]) * draw.uniform(2, 15)
    water = draw.uniform(150, 230) - 2 * plasticizer
    coarse = draw.uniform(800, 1140)
    fine = draw.uniform(600, 950)
    age = draw.choice([1, 3, 7, 14, 28, 56, 90, 180, 365])
    early = age / (age + 4)
    late = age / (age + 20)
    binder = cement * early + 0.8 * slag * late + 0.5 * ash * late
    ratio = water / (cement + slag + ash)
    strength = 115 * math.exp(-1.9 * ratio) * binder / (cement + slag + ash) + 0.5 * plasticizer
    strength += 4 * math.sin((coarse - fine) / 120)
    strength = max(1.0, strength + draw.gauss(0, 2))
    amounts = (cement, slag, ash, water, plasticizer, coarse, fine)
    rows.append(",".join(f"{x:.1f}" for x in amounts) + f",{age},{strength:.2f}")
Path(__file__).with_name("concrete.csv").write_text("\n".join(rows) + "\n")
