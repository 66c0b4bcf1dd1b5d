-- Makes the lane's streams and their group. KEYS[1]: the lane's prefix.
for p = 1, 5 do
  redis.pcall('XGROUP', 'CREATE', KEYS[1] .. ':q' .. p, 'w', '0', 'MKSTREAM')
end
return 1
